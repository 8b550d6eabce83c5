/** tdb bench: what it counts, by a clock moved by hand, and how it reads what it is to connect to. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type BenchWay, runBench } from "../../api/cli/bench.ts";
import { readConnectionString } from "../../api/cli/commands/bench.ts";
import { makeCli } from "./support/cli.ts";

/** A database whose answers take `askMs` and whose logins take `connectMs` of a clock that only its clients move, one at a time. */
function makeWay(clock: { nowMs: number }, name: string, askMs: number, connectMs: number) {
  const counts = { open: 0, most: 0, asked: 0, order: [] as string[] };
  const way: BenchWay = {
    name,
    async connect() {
      clock.nowMs += connectMs;
      counts.open++;
      counts.most = Math.max(counts.most, counts.open);
      return {
        async ask() {
          clock.nowMs += askMs;
          counts.asked++;
        },
        async end() {
          counts.open--;
        },
      };
    },
  };
  return { way, counts };
}

describe("what is measured", () => {
  it("is one client's latency, the rate of all, and logins, each for its time", async () => {
    const clock = { nowMs: 5000 };
    const { way, counts } = makeWay(clock, "gateway", 4, 6);
    const plan = { clients: 8, seconds: 1, rounds: 1 };
    const [result] = await runBench(
      [way],
      plan,
      () => clock.nowMs,
      () => undefined,
    );
    // One at a time of this clock: 4 ms an answer, 10 ms a login with its question.
    expect(result).toMatchObject({ through: "gateway", latency_p50_ms: 4, latency_p99_ms: 4 });
    expect(result!.transactions_per_s).toBeCloseTo(250, -1);
    expect(result!.connections_per_s).toBeCloseTo(100, -1);
    expect(counts).toMatchObject({ open: 0, most: 8 });
  });

  it("is each way in turn, another one first in each round, and the medians of the rounds", async () => {
    const clock = { nowMs: 0 };
    const ways = [makeWay(clock, "gateway", 2, 2), makeWay(clock, "direct", 1, 1)];
    const said: string[] = [];
    const plan = { clients: 2, seconds: 1, rounds: 3 };
    const results = await runBench(
      ways.map(({ way }) => way),
      plan,
      () => clock.nowMs,
      (text) => said.push(text.replace(/^round (\d) of 3: /, "$1 ")),
    );
    expect(said).toEqual(["1 gateway", "1 direct", "2 direct", "2 gateway", "3 gateway", "3 direct"]);
    expect(results.map(({ through, latency_p50_ms }) => [through, latency_p50_ms])).toEqual([
      ["gateway", 2],
      ["direct", 1],
    ]);
  });

  it("ends with what a statement said, and leaves no connection behind", async () => {
    const clock = { nowMs: 0 };
    const { way, counts } = makeWay(clock, "gateway", 1, 1);
    const failing: BenchWay = {
      ...way,
      connect: async () => ({ ...(await way.connect()), ask: () => Promise.reject(new Error("relation does not exist")) }),
    };
    await expect(
      runBench(
        [failing],
        { clients: 3, seconds: 1, rounds: 1 },
        () => clock.nowMs,
        () => undefined,
      ),
    ).rejects.toThrow("relation does not exist");
    expect(counts.open).toBe(0);
  });

  it("ends with the refusal of a login, the others closed", async () => {
    const clock = { nowMs: 0 };
    const { way, counts } = makeWay(clock, "gateway", 1, 1);
    let left = 6;
    const full: BenchWay = {
      name: "full",
      connect: () => (left-- > 0 ? way.connect() : Promise.reject(new Error("too many connections"))),
    };
    await expect(
      runBench(
        [full],
        { clients: 9, seconds: 1, rounds: 1 },
        () => clock.nowMs,
        () => undefined,
      ),
    ).rejects.toThrow("too many connections");
    expect(counts.open).toBe(0);
  });
});

describe("a connection string", () => {
  it("means what it means to libpq", async () => {
    const cli = await makeCli();
    const ca = join(cli.home, "ca.pem");
    await writeFile(ca, "PEM");
    const read = (query: string) => readConnectionString("--direct", `postgresql://u%40x:p%3Aw@db.example:6432/app${query}`);
    const plain = { host: "db.example", port: 6432, user: "u@x", password: "p:w", database: "app" };
    expect(await read("")).toEqual(plain);
    expect(await read("?sslmode=disable")).toEqual(plain);
    expect(await read("?sslmode=require")).toEqual({ ...plain, ssl: { rejectUnauthorized: false } });
    expect(await read(`?sslmode=verify-full&sslrootcert=${ca}`)).toEqual({ ...plain, ssl: { rejectUnauthorized: true, ca: "PEM" } });
    expect(await read("?host=/var/run/postgresql")).toMatchObject({ host: "/var/run/postgresql" });
  });

  it.each(["db.example/app", "mysql://u:p@db.example/app"])("%s is none", async (text) => {
    await expect(readConnectionString("--direct", text)).rejects.toThrow("--direct must");
  });
});

describe("tdb bench", () => {
  it.each([
    [[], "say what to measure"],
    [["wayne", "--connection", "postgresql://u@h/d"], "say what to measure"],
    [["--connection", "postgresql://u@h/d", "--clients", "0"], "--clients is 1 to 1000"],
    [["globex"], "add --blueprint with one of"],
  ])("%j is wrong usage", async (args, told) => {
    const cli = await makeCli();
    expect(await cli.run(["bench", ...args])).toMatchObject({ code: 2, out: "", err: expect.stringContaining(told) });
  });

  it("believes this folder's CA for its own gateway only", async () => {
    const info = { version: "0", apiUrl: "http://127.0.0.1:9876", pgHost: "127.0.0.1", pgPort: 1 };
    const cli = await makeCli({ info });
    const bench = () => cli.run(["bench", "wayne"], { env: { TDB_API_KEY: cli.world.key, TDB_PROXY_PASSWORD: "tdb_given" } });
    await cli.writeLocalCredentials({ ca_file: join(cli.home, "no-ca.pem"), pg_host: "127.0.0.1", pg_port: 1 });
    expect((await bench()).err).toContain("no-ca.pem");
    await cli.writeLocalCredentials({ ca_file: join(cli.home, "no-ca.pem"), pg_host: "127.0.0.1", pg_port: 2 });
    expect((await bench()).err).toContain("ECONNREFUSED 127.0.0.1:1");
  });

  it("says why it could not measure", async () => {
    const cli = await makeCli();
    const nobody = "postgresql://u:p@127.0.0.1:1/d";
    expect(await cli.run(["bench", "--connection", nobody])).toMatchObject({ code: 1, err: expect.stringContaining("the measurement ended early") });
  });
});
