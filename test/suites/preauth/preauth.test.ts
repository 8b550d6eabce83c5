/** The fuzz before login, bounded: every kept input, then mutations of them from a fixed seed. The long run is run.ts beside this. */
import { readFile } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Prng } from "../../engines/postgres/support/prng.ts";
import { formatInput, type Input, mutate, parseCorpus } from "./input.ts";
import { FuzzFinding, Player } from "./player.ts";

const seed = Number(process.env.TDB_FUZZ_SEED ?? 20_261_123);
const mutations = Number(process.env.TDB_FUZZ_INPUTS ?? 60_000);

describe("before login", () => {
  let player: Player;
  let corpus: Input[];
  beforeAll(async () => {
    player = await Player.create();
    corpus = parseCorpus(await readFile(new URL("./corpus.txt", import.meta.url), "utf8"));
  });
  afterAll(() => player.close());

  async function play(input: Input, random: Prng): Promise<void> {
    try {
      await player.play(input, random);
    } catch (error) {
      if (error instanceof FuzzFinding) throw new Error(`seed ${seed}: ${error.message}\n${formatInput("input", input)}`);
      throw error;
    }
  }

  it("every kept input ends in an answer or a closed connection, and leaves nothing", async () => {
    for (const input of corpus) for (let variant = 0; variant < 5; variant++) await play(input, new Prng(seed + variant));
    expect(player.played).toBe(corpus.length * 5);
  });

  it(`${mutations} mutations of them neither`, async () => {
    const random = new Prng(seed);
    for (let i = 0; i < mutations; i++) await play(mutate(random.pick(corpus), random.pick(corpus), random), random);
  }, 120_000);

  it("whoever keeps to the protocol still gets in", async () => {
    const client = await player.world.client();
    expect(client.types).toMatch(/Z$/);
  });
});
