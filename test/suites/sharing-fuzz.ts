/**
 * pool_mode=transaction beside sessions of one's own: clients that share few backends do, in turns, what as many do that have PostgreSQL to
 * themselves, and every answer is the same, byte for byte.
 */
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Fleet, makeFleet } from "../e2e/support/fleet.ts";
import type { RuntimeUnderTest } from "../e2e/support/gateway.ts";
import { type NativeServer, openNativeServer } from "../e2e/support/native.ts";
import { type Message, show, Wire } from "../e2e/support/wire.ts";
import { Prng } from "../engines/postgres/support/prng.ts";
import { SharingClient } from "./sharing-client.ts";

const clients = 5;
const steps = Number(process.env.TDB_SHARING_STEPS ?? 1500);
const seed = Number(process.env.TDB_FUZZ_SEED ?? 20_261_129);

export function describeSharingFuzz(runtime: RuntimeUnderTest): void {
  describe(`sharing under ${runtime}: ${clients} clients over 3 backends`, () => {
    let fleet: Fleet;
    let native: NativeServer;

    beforeAll(async () => {
      fleet = await makeFleet(runtime, ["--backend-budget", "3"]);
      native = openNativeServer(fleet.gateway);
      await fleet.setSettings({ pool_mode: "transaction" });
    });
    afterAll(async () => {
      await native?.close();
      await fleet?.dispose();
    });

    async function dialGateway(name: string): Promise<Wire> {
      const { user, password, database } = fleet.tenant("wayne");
      const wire = await Wire.dial({ port: fleet.gateway.credentials.pg_port });
      return await loggedIn(wire, user, password, database, name);
    }

    async function dialServer(name: string): Promise<Wire> {
      const database = await native.find(fleet.gateway.credentials.project_id, "myapp__wayne");
      const wire = await Wire.dial({ path: join(native.socketDir, ".s.PGSQL.5432") });
      return await loggedIn(wire, `${database.name}_admin`, native.secrets.nativeRolePassword(database, "admin"), database.name, name);
    }

    it(`${steps} random steps are answered as by PostgreSQL alone`, async () => {
      const random = new Prng(seed);
      const busy = { inTransaction: undefined, pinned: undefined };
      const pairs = await Promise.all(
        Array.from({ length: clients }, async (_, i) => {
          const name = `client ${i}`;
          return { client: new SharingClient(random, busy), through: await dialGateway(name), direct: await dialServer(name) };
        }),
      );
      const story: string[] = [];
      for (let step = 0; step < steps; step++) {
        const number = random.int(clients);
        const { client, through, direct } = pairs[number]!;
        const { text, bytes, answers } = client.next();
        story.push(`${number}: ${text}`);
        for (const wire of [through, direct]) for (const piece of wire === through ? random.cut(bytes) : [bytes]) wire.send(piece);
        const [wanted, got] = await Promise.all([direct, through].map((wire) => answersOf(wire, answers, story))).catch(async (error: unknown) => {
          const { body } = await fleet.api("GET", "/sessions");
          throw new Error(`${(error as Error).message}\n${JSON.stringify(body.sessions, null, 1)}`);
        });
        client.note(wanted!);
        expect({ story: story.slice(-25), messages: got!.map(asText) }).toEqual({ story: story.slice(-25), messages: wanted!.map(asText) });
      }
      for (const { through, direct } of pairs) for (const wire of [through, direct]) wire.end();
    }, 180_000);
  });
}

async function loggedIn(wire: Wire, user: string, password: string, database: string, name: string): Promise<Wire> {
  const messages = await wire.login(user, password, database, { application_name: name });
  if (messages.at(-1)?.type !== "Z") throw new Error(messages.map(show).join(" "));
  return wire;
}

async function answersOf(wire: Wire, count: number, story: readonly string[]): Promise<Message[]> {
  try {
    return await wire.readUntil("Z", count);
  } catch (error) {
    throw new Error(`${(error as Error).message}\n${story.slice(-25).join("\n")}`);
  }
}

/** Temporary tables have an object id of their own in each session. Where in PostgreSQL's source an error comes from is its own business. */
function asText({ type, body }: Message): string {
  if (type === "S") return "S"; // PostgreSQL reports several in the order of its own lists; what they say is asked for by later steps
  if (type === "E") return `E ${body.toString("latin1").replace(/F[^\0]*\0L[^\0]*\0R[^\0]*\0/, "")}`;
  if (type !== "T") return `${type} ${body.toString("latin1")}`;
  const copy = Buffer.from(body);
  for (let at = 2; at < copy.length; ) {
    const end = copy.indexOf(0, at);
    copy.fill(0, end + 1, end + 5);
    at = end + 19;
  }
  return `T ${copy.toString("latin1")}`;
}
