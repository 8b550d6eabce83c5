/** Backups through a whole gateway: clients during a rollback, files that psql restores, and a gateway killed at any moment. */
import { spawn } from "node:child_process";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { findDebianPostgres, missingDebianPostgres } from "../support/debian-postgres.ts";
import { type Api, makeApi } from "./support/api.ts";
import { connect, psql } from "./support/clients.ts";
import { type Fleet, makeFleet } from "./support/fleet.ts";
import { collect, type GatewayProcess, run, startGateway, tdb } from "./support/gateway.ts";
import { openNativeServer } from "./support/native.ts";
import { until } from "./support/until.ts";

/** Kills of the gateway; more with TDB_KILL_RUNS. */
const kills = Number(process.env.TDB_KILL_RUNS ?? 4);
const rows = 20_000;

let fleet: Fleet;
/** The gateway of now: killed ones have successors on the same data. */
let gateway: GatewayProcess;
let api: Api;
beforeAll(async () => {
  fleet = await makeFleet("node");
  gateway = fleet.gateway;
  api = fleet.api;
  await psql(gateway, fleet.tenant("wayne"), `INSERT INTO accounts (name, email) SELECT 'first ' || g, g::text FROM generate_series(1, ${rows}) g`);
}, 180_000);
afterAll(async () => {
  if (gateway !== fleet?.gateway) await gateway?.stop();
  await fleet?.dispose();
});

async function ask(method: string, path: string, body?: unknown) {
  const answer = await api(method, path, body);
  if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
  return answer.body;
}

const backUp = async () => {
  const backup = await ask("POST", "/tenants/wayne/backup", { wait: true });
  expect(backup).toMatchObject({ status: "ready", error: null });
  return backup;
};

/** First words of names, each with how often it is there, sorted. */
async function contents(): Promise<string> {
  const found = await psql(gateway, fleet.tenant("wayne"), "SELECT split_part(name, ' ', 1), count(*) FROM accounts GROUP BY 1 ORDER BY 1");
  if (found.stderr) throw new Error(found.stderr);
  return found.stdout.trim().replaceAll("\n", " ");
}

describe("rollback under clients", () => {
  it("ends sessions between transactions, lets new ones wait, and loses nothing that was written after it", async () => {
    const backup = await backUp();
    await psql(gateway, fleet.tenant("wayne"), "INSERT INTO accounts (name) VALUES ('between x')");
    const target = fleet.tenant("wayne");
    const idle = await connect(gateway, target);
    const idleEnd = new Promise<pg.DatabaseError>((ended) => idle.once("error", (error) => ended(error as pg.DatabaseError)));
    const busy = await connect(gateway, target);
    await busy.query("BEGIN");
    await busy.query("INSERT INTO accounts (name) VALUES ('between busy')");

    let isOver = false;
    let doneAt = Number.POSITIVE_INFINITY;
    const written: number[] = [];
    const refused: string[] = [];
    let connects = 0;
    const visit = async () => {
      while (!isOver) {
        try {
          const client = await connect(gateway, target);
          connects++;
          const isAfter = performance.now() > doneAt;
          const name = isAfter ? "after x" : "during x";
          const { rows: made } = await client.query("INSERT INTO accounts (name) VALUES ($1) RETURNING id", [name]);
          if (isAfter) written.push(made[0].id);
          await client.end();
        } catch (error) {
          // A session that leaves between login and statement is told so; nobody may be refused at login.
          const { code, message } = error as pg.DatabaseError;
          if (code !== "57P01" && !/Connection terminated/.test(message)) refused.push(`${code} ${message}`);
        }
      }
    };
    const visitors = [1, 2, 3].map(visit);
    const started = await ask("POST", "/tenants/wayne/rollback", { backup_id: backup.id });
    expect(["queued", "restoring"]).toContain(started.status);
    expect(await idleEnd).toMatchObject({ code: "57P01", message: expect.stringContaining("is being restored") });
    await busy.query("COMMIT"); // a transaction that was open may end
    await until(async () => (await ask("GET", `/tenants/wayne/rollbacks/${started.id}`)).status === "done");
    doneAt = performance.now();
    const from = connects;
    await until(() => connects > from + 10);
    isOver = true;
    await Promise.all(visitors);
    expect(refused).toEqual([]);
    const found = await psql(
      gateway,
      target,
      "SELECT count(*) FROM accounts WHERE name = 'after x'",
      "SELECT count(*) FROM accounts WHERE name LIKE 'between%'",
    );
    expect(found.stdout.trim().split("\n")).toEqual([String(written.length), "0"]);
    expect(written.length).toBeGreaterThan(0);
    await busy.end().catch(() => undefined);
    const undone = await ask("POST", `/tenants/wayne/rollbacks/${started.id}/undo`, { wait: true });
    expect(undone).toMatchObject({ status: "done", undoes: started.id });
    expect(await contents()).toMatch(new RegExp(`between\\|2 .*first\\|${rows}`));
  }, 120_000);

  it("works from the command line, and its file is a script that psql restores anywhere", async () => {
    const env = { TDB_API_URL: gateway.credentials.api_url, TDB_API_KEY: gateway.credentials.api_key, HOME: gateway.dataDir };
    const made = await tdb("node", ["--json", "tenants", "backup", "wayne", "--format", "own"], env);
    expect(made).toMatchObject({ code: 0, stderr: "" });
    const { id } = JSON.parse(made.stdout);
    const file = join(gateway.dataDir, "../wayne.sql.gz");
    expect(await tdb("node", ["tenants", "backup-download", "wayne", id, "--file", file], env)).toMatchObject({ code: 0, stderr: "" });
    const before = await contents();
    expect((await tdb("node", ["tenants", "clone", "wayne", "--name", "twin"], env)).stdout).toContain("Tenant twin is ready");
    // In the maintenance database's server, by nothing but gunzip and psql.
    const superuser = await openNativeServer(gateway).asSuperuser();
    await superuser.query("CREATE DATABASE anywhere TEMPLATE template0");
    const { host, port, user, password } = superuser;
    const script = (await run("gunzip", ["-c", file])).stdout;
    const child = spawn("psql", ["-X", "-q", "-v", "ON_ERROR_STOP=1", "-h", host, "-p", String(port), "-U", user ?? "", "-d", "anywhere"], {
      env: { PATH: process.env.PATH ?? "", PGPASSWORD: String(password) },
      stdio: ["pipe", "pipe", "pipe"],
    });
    const restored = await collect(child, script);
    expect([restored.code, restored.stderr]).toEqual([0, ""]);
    const anywhere = new pg.Client({ host, port, user, password: String(password), database: "anywhere" });
    await anywhere.connect();
    const found = await anywhere.query(
      "SELECT split_part(name, ' ', 1) || '|' || count(*) AS n FROM accounts GROUP BY split_part(name, ' ', 1) ORDER BY 1",
    );
    expect(found.rows.map((row) => row.n).join(" ")).toBe(before);
    await anywhere.end();
    await superuser.query("DROP DATABASE anywhere");
    await superuser.end();
  }, 120_000);
});

const debian = findDebianPostgres();
const isOlder = debian !== undefined && debian.version < 18;
describe.skipIf(!isOlder)(
  `a pg_dump older than the server${isOlder ? "" : ` (${debian ? "the one installed is as new" : missingDebianPostgres})`}`,
  () => {
    it("makes no archives: own format unless they are asked for, and then a refusal that says what to install", async () => {
      expect(await backUp()).toMatchObject({ format: "own" });
      expect(await api("POST", "/tenants/wayne/backup", { format: "custom" })).toMatchObject({
        status: 409,
        body: { error: expect.stringMatching(/needs pg_dump 18 or newer, as the database server is PostgreSQL 18; the newest pg_dump found is \d+/) },
      });
    }, 60_000);
  },
);

describe(`a gateway killed ${kills} times`, () => {
  it(
    "leaves the old database or the new one, never half, and nothing behind",
    async () => {
      const backup = await backUp();
      const before = await contents();
      await psql(gateway, fleet.tenant("wayne"), "INSERT INTO accounts (name) VALUES ('lost x')");
      const startedAt = performance.now();
      const whole = await ask("POST", "/tenants/wayne/rollback", { backup_id: backup.id, wait: true });
      expect(whole.status).toBe("done");
      const lasts = performance.now() - startedAt;
      const ends: string[] = [];
      for (let at = 0; at < kills; at++) {
        const isRollback = at % 4 !== 3;
        await psql(gateway, fleet.tenant("wayne"), "DELETE FROM accounts WHERE name = 'lost x'", "INSERT INTO accounts (name) VALUES ('lost x')");
        const path = isRollback ? "/tenants/wayne/rollback" : "/tenants/wayne/backup";
        const started = await ask("POST", path, isRollback ? { backup_id: backup.id } : {});
        await new Promise((later) => setTimeout(later, Math.random() * lasts * 1.3)); // the moment of the kill is what varies
        await gateway.stop("SIGKILL");
        gateway = await startGateway({ runtime: "node", dataDir: gateway.dataDir });
        api = makeApi(gateway.credentials.api_url, gateway.credentials.api_key);
        const kind = isRollback ? "rollbacks" : "backups";
        const state = async () => (await ask("GET", `/tenants/wayne/${kind}/${started.id}`)).status as string;
        await until(async () => ["done", "ready", "failed"].includes(await state()));
        const ended = await state();
        ends.push(`${kind} ${ended}`);
        const now = await contents();
        if (isRollback) expect(now, ended).toBe(ended === "done" ? before : before.replace(/(first\|\d+)/, "$1 lost|1"));
        else expect(ended).toBe("ready");
      }
      expect(ends.filter((end) => end === "rollbacks done").length).toBeGreaterThan(0);
      if (kills > 10) console.log(ends.join(", "));
      const superuser = await openNativeServer(gateway).asSuperuser();
      const half =
        "SELECT count(*)::int AS n FROM tenantry.databases WHERE kind = 'restore' OR state = 'deleting' OR (kind = 'tenant' AND NOT connectable)";
      const held = "SELECT count(*)::int AS n FROM tenantry.tenant_databases WHERE held";
      await until(async () => (await superuser.query(half)).rows[0].n === 0);
      expect((await superuser.query(held)).rows[0].n).toBe(0);
      // Every database of the cluster is in the inventory.
      const listed = (await superuser.query("SELECT name FROM tenantry.databases")).rows.map((row) => row.name).sort();
      const there = (await superuser.query("SELECT datname FROM pg_database WHERE datname ~ '^tdb_[0-9a-f]{16}$'")).rows
        .map((row) => row.datname)
        .sort();
      expect(there).toEqual(listed);
      await superuser.end();
      const files = (await readdir(join(gateway.dataDir, "backups"), { recursive: true })).filter((name) => name.endsWith(".part"));
      expect(files).toEqual([]);
    },
    120_000 + kills * 60_000,
  );
});
