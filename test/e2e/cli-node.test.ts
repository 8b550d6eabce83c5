/** The command line as an operator types it, against a gateway with default settings: what it says it did is looked at in PostgreSQL. */
import { mkdir, mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { tdbHere } from "./support/cli.ts";
import { connect, ending, failure, from, parseTarget, type Target } from "./support/clients.ts";
import { completeIn, isInstalled, scriptNames, shells } from "./support/completion.ts";
import { type Finished, type GatewayProcess, startGateway, tdb } from "./support/gateway.ts";
import { until } from "./support/until.ts";

const longMs = 240_000;

let gateway: GatewayProcess;
let home: string;
let wayne: Target;
let acme: Target;

beforeAll(async () => {
  [gateway, home] = await Promise.all([startGateway({ runtime: "node" }), mkdtemp(join(tmpdir(), "tdb-home-"))]);
});
afterAll(async () => {
  await gateway?.dispose();
  await rm(home, { recursive: true, force: true });
});

const environment = () => ({ HOME: home, TDB_API_URL: gateway.credentials.api_url, TDB_PASSWORD: "correct horse battery" });
const cli = (args: readonly string[], env: Record<string, string> = {}): Promise<Finished> => tdbHere(args, { ...environment(), ...env });

/** What a command that must succeed prints. */
async function done(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await cli(args);
  if (code !== 0) throw new Error(`tdb ${args.join(" ")}: exit ${code}: ${stderr}`);
  return stdout;
}

async function refused(...args: string[]): Promise<string> {
  const { code, stderr } = await cli(args);
  expect([args, code]).toEqual([args, 1]);
  return stderr;
}

const json = async (...args: string[]) => JSON.parse(await done(...args, "--json"));

async function ask(target: Target, text: string): Promise<Record<string, unknown>[]> {
  const client = await connect(gateway, target);
  return await client.query(text).then(
    ({ rows }) => client.end().then(() => rows),
    (error) => client.end().then(() => Promise.reject(error)),
  );
}

/** A tenant that is let in again: a sweep that looked in between may keep it out until the next one. */
const untilIn = (target: Target) =>
  until(() =>
    connect(gateway, target).then(
      (client) => client.end().then(() => true),
      () => false,
    ),
  );

describe("an account", () => {
  it(
    "is made with its first project, whose key is kept for its owner only and never shown",
    async () => {
      const projectId = (await done("signup", "--email", "ada@example.com", "--project", "Engines", "--quiet")).trim();
      expect(projectId).toMatch(/^tdb_[0-9a-f]{8}$/);
      const file = join(home, ".tenantsdb.json");
      expect((await stat(file)).mode & 0o777).toBe(0o600);
      const { api_key } = JSON.parse(await readFile(file, "utf8"));
      const shown = await done("config", "show");
      expect(shown).toContain("configuration file");
      expect(shown).not.toContain(api_key);
      expect((await json("projects", "list")).projects).toMatchObject([{ project_id: projectId, name: "Engines" }]);
      expect(await refused("signup", "--email", "ada@example.com")).toContain("✗");
      expect((await cli(["projects", "list"], { TDB_API_KEY: "tenantsdb_sk_0" })).code).toBe(1);
    },
    longMs,
  );

  it(
    "logs in, works on several projects, deletes one, and logs out",
    async () => {
      const before = await readFile(join(home, ".tenantsdb.json"), "utf8");
      const other = { HOME: await mkdtemp(join(tmpdir(), "tdb-home-")) };
      const inOther = async (...args: string[]) => await cli(args, other);
      expect((await inOther("login", "--email", "ada@example.com")).stdout).toContain("Engines");
      const second = (await inOther("projects", "create", "--name", "Second", "--quiet")).stdout.trim();
      expect((await inOther("projects", "switch", second)).code).toBe(0);
      expect((await inOther("workspaces", "create", "--name", "scratch")).code).toBe(0);
      const { proxy_password: password } = JSON.parse(await readFile(join(other.HOME, ".tenantsdb.json"), "utf8")).projects[second];
      const target = { user: second, password, database: "scratch_workspace" };
      expect(await ask(target, "SELECT 1 AS one")).toEqual([{ one: 1 }]);
      expect((await inOther("projects", "delete", second, "--confirm", "tdb_00000000")).code).toBe(2);
      expect((await inOther("projects", "delete", second, "--confirm", second)).code).toBe(0);
      expect((await failure(connect(gateway, target))).code).toBe("28P01");
      expect((await inOther("login", "--email", "ada@example.com")).code).toBe(0);
      expect((await inOther("logout")).stdout).toContain("Logged out");
      expect((await inOther("projects", "list")).code).toBe(1);
      expect(await readFile(join(home, ".tenantsdb.json"), "utf8")).toBe(before);
      await rm(other.HOME, { recursive: true });
    },
    longMs,
  );
});

describe("workspaces, blueprints and tenants", () => {
  it(
    "are made, and the schema of one is that of the other",
    async () => {
      await done("workspaces", "create", "--name", "app", "--database", "PostgreSQL", "--mode", "tenant");
      await done("workspaces", "query", "app", "--query", "CREATE TABLE accounts (id serial PRIMARY KEY, name text)");
      expect(await done("workspaces", "list", "--quiet")).toBe("app\n");
      expect(await done("workspaces", "get", "app")).toMatch(/public\.accounts/);
      expect(await done("workspaces", "schema", "app")).toContain("public.accounts");
      expect(await done("blueprints", "list", "--quiet")).toBe("app\n");
      expect(await done("blueprints", "get", "app")).toContain("CREATE TABLE accounts (id serial PRIMARY KEY, name text);");
      expect((await json("blueprints", "versions", "app")).versions).toMatchObject([{ version: 1, command_tag: "CREATE TABLE" }]);
      wayne = parseTarget((await done("tenants", "create", "--name", "wayne", "--blueprint", "app", "--quiet")).trim());
      acme = parseTarget((await json("tenants", "create", "--name", "acme", "--blueprint", "app")).databases[0].connection_string);
      await ask(wayne, "INSERT INTO accounts (name) VALUES ('Alice'), ('Bob'), ('Carol')");
      expect(await ask(acme, "SELECT count(*)::int AS n FROM accounts")).toEqual([{ n: 0 }]);
      expect((await done("tenants", "list", "--quiet")).split("\n").filter(Boolean).sort()).toEqual(["acme", "wayne"]);
      expect(await json("tenants", "get", "wayne")).toMatchObject({ status: "ready", databases: [{ blueprint: "app", version: 1 }] });
      expect(await done("query", "--tenant", "wayne", "SELECT name FROM accounts WHERE id = $1", "--param", "2", "--quiet")).toBe('"Bob"\n');
      const all = await json("query", "--all", "--blueprint", "app", "SELECT count(*)::int FROM accounts");
      expect(all.results.map(({ tenant_id, rows }: { tenant_id: string; rows: unknown }) => [tenant_id, rows])).toEqual([
        ["acme", [[0]]],
        ["wayne", [[3]]],
      ]);
    },
    longMs,
  );

  it(
    "open in psql: a workspace with what is known, a tenant with its password",
    async () => {
      const statement = ["--", "-X", "-A", "-t", "-c", "SELECT current_user <> session_user, count(*) FROM accounts"];
      expect((await done("psql", "app", ...statement)).trim()).toMatch(/\|0$/);
      const opened = await cli(["psql", "wayne", ...statement], { TDB_PROXY_PASSWORD: wayne.password });
      expect([opened.code, opened.stdout.trim()]).toEqual([0, expect.stringMatching(/\|3$/)]);
      expect((await cli(["psql", "wayne", ...statement], { TDB_PROXY_PASSWORD: acme.password })).code).toBe(1);
    },
    longMs,
  );

  it(
    "have settings, a tenant its own, which are taken back",
    async () => {
      const tooMany = "SELECT generate_series(1, 3)";
      await done("workspaces", "settings", "app", "--max-rows-per-query", "2");
      expect(await refused("query", "--tenant", "wayne", tooMany)).toContain("query exceeded max_rows_per_query (2)");
      await done("tenants", "settings", "wayne", "--max-rows-per-query", "3");
      expect(await done("query", "--tenant", "wayne", tooMany, "--quiet")).toBe("1\n2\n3\n");
      await done("tenants", "settings", "wayne", "--unset", "max_rows_per_query");
      expect(await done("tenants", "settings", "wayne")).toMatch(/max_rows_per_query +2/);
      expect(await refused("query", "--tenant", "wayne", tooMany)).toContain("query exceeded max_rows_per_query (2)");
      await done("workspaces", "settings", "app", "--max-rows-per-query", "0");
      expect(await refused("tenants", "settings", "wayne", "--max-connections", "0")).toContain("must be at least 1");
    },
    longMs,
  );

  it(
    "are suspended, resumed, put in the trash, restored",
    async () => {
      const client = await connect(gateway, wayne);
      const ended = ending(client);
      expect(await done("tenants", "suspend", "wayne")).toBe("✓ Tenant wayne is suspended\n");
      expect((await ended).code).toBe("57P01");
      expect(await failure(connect(gateway, wayne))).toMatchObject({ code: "57P03", message: 'tenant "wayne" is suspended' });
      expect(await done("tenants", "resume", "wayne")).toBe("✓ Tenant wayne is ready\n");
      await untilIn(wayne);
      expect(await ask(wayne, "SELECT count(*)::int AS n FROM accounts")).toEqual([{ n: 3 }]);
      expect(await done("tenants", "delete", "wayne")).toContain("moved to trash");
      expect(await failure(connect(gateway, wayne))).toMatchObject({ code: "3D000", message: 'tenant "wayne" is in trash' });
      expect(await done("tenants", "restore", "wayne")).toBe("✓ Tenant wayne is ready\n");
      await untilIn(wayne);
      expect(await ask(wayne, "SELECT count(*)::int AS n FROM accounts")).toEqual([{ n: 3 }]);
    },
    longMs,
  );
});

describe("deployments", () => {
  it(
    "bring a change to every tenant, are cancelled and tried again",
    async () => {
      await done("workspaces", "query", "app", "--query", "ALTER TABLE accounts ADD note text");
      expect(await done("workspaces", "diff", "app")).toMatch(/2 of 2.*ALTER TABLE accounts ADD note text/s);
      const first = await json("deployments", "create", "--blueprint", "app", "--all", "--wait");
      expect(first).toMatchObject({ status: "done", version: 2, tenants_completed: 2 });
      expect(await refused("deployments", "cancel", first.id)).toContain("has already ended (done)");
      expect(await refused("deployments", "retry", first.id)).toContain("nothing to retry");

      await done("workspaces", "query", "app", "--query", "ALTER TABLE accounts ADD plan text");
      const holder = await connect(gateway, acme);
      await holder.query("BEGIN; SELECT * FROM accounts"); // in the way of ALTER TABLE, until it commits
      const second = await json("deployments", "create", "--blueprint", "app", "--all", "--concurrency", "1", "--lock-timeout-ms", "60000");
      const status = () => json("deployments", "status", second.id);
      await until(async () => (await status()).results.some((each: { status: string }) => each.status === "running"), undefined, longMs);
      await done("deployments", "cancel", second.id);
      await holder.query("COMMIT");
      await holder.end();
      await until(async () => (await status()).finished_at !== null, undefined, longMs);
      expect(await status()).toMatchObject({ status: "cancelled" });
      expect((await json("deployments", "retry", second.id, "--wait")).status).toBe("done");
      for (const target of [acme, wayne]) expect(await ask(target, "SELECT count(plan)::int AS n FROM accounts")).toEqual([{ n: 0 }]);
      expect((await done("deployments", "list", "--quiet")).split("\n")).toEqual(expect.arrayContaining([first.id, second.id]));
      expect((await json("tenants", "deployments", "wayne")).deployments.map(({ id }: { id: string }) => id)).toEqual([second.id, first.id]);
    },
    longMs,
  );
});

describe("keys", () => {
  it(
    "are made with a role and a scope, rotated, and revoked with their open sessions",
    async () => {
      const args = ["--name", "report", "--role", "read", "--scope-type", "tenant", "--scope-values", "wayne", "--expires", "90d"];
      const made = await json("apikeys", "create", ...args);
      expect(made).toMatchObject({ role: "read", scope_type: "tenant", scope_values: ["wayne"], expires_at: expect.stringMatching(/Z$/) });
      const reader = { ...wayne, password: made.proxy_password as string };
      expect(await ask(reader, "SELECT count(*)::int AS n FROM accounts")).toEqual([{ n: 3 }]);
      expect(await failure(ask(reader, "INSERT INTO accounts (name) VALUES ('x')"))).toMatchObject({
        code: "42501",
        message: "permission denied for table accounts",
      });
      const withKey = (key: string) => cli(["query", "--tenant", "wayne", "SELECT 1"], { TDB_API_KEY: key });
      expect((await withKey(made.key)).code).toBe(0);
      expect((await cli(["query", "--tenant", "acme", "SELECT 1"], { TDB_API_KEY: made.key })).stderr).toContain(
        "credential scoped to tenants [wayne]",
      );
      const rotated = await json("apikeys", "rotate", made.id);
      await until(async () => (await withKey(made.key)).code === 1);
      expect((await withKey(rotated.key)).code).toBe(0);
      const client = await connect(gateway, { ...wayne, password: rotated.proxy_password });
      const ended = ending(client);
      expect(await done("apikeys", "list", "--quiet")).toContain(made.id);
      expect(await done("apikeys", "delete", made.id)).toContain("revoked");
      expect((await ended).code).toBe("57P01");
      expect((await withKey(rotated.key)).code).toBe(1);
    },
    longMs,
  );
});

describe("bans", () => {
  it(
    "are shown and lifted",
    async () => {
      const address = "127.0.0.88";
      const wrong: Target = { ...wayne, password: "tdb_0000000000000000", sslmode: "disable" };
      for (let i = 0; i < 10; i++) await failure(connect(gateway, wrong, from(address)));
      expect(await done("bans", "--quiet")).toBe(`${address}\n`);
      expect(await done("bans", "lift", address)).toBe(`✓ Ban of '${address}' lifted\n`);
      await (await connect(gateway, { ...wayne, sslmode: "disable" }, from(address))).end();
      expect(await refused("bans", "lift", address)).toContain("Ban not found");
    },
    longMs,
  );
});

describe("what goes with every command", () => {
  it(
    "a file for the answer, a usage error's exit code",
    async () => {
      const file = join(home, "tenants.json");
      expect(await done("tenants", "list", "--json", "--output", file)).toBe("");
      expect(JSON.parse(await readFile(file, "utf8"))).toMatchObject({ success: true, count: 2 });
      expect((await stat(file)).mode & 0o777).toBe(0o600);
      const typed = (...args: string[]) => tdb("node", args, environment());
      expect(await typed("tenants", "create")).toMatchObject({ code: 2, stdout: "" });
      expect(await typed("tenants", "list", "--quiet")).toMatchObject({ code: 0, stdout: await done("tenants", "list", "--quiet"), stderr: "" });
    },
    longMs,
  );

  for (const shell of shells) {
    const missing = isInstalled(shell) ? "" : ` (skipped: ${shell} is not installed)`;
    it.skipIf(missing !== "")(`completion that ${shell} understands${missing}`, async () => {
      const folder = join(home, shell);
      await mkdir(folder);
      await done("completion", shell, "--output", join(folder, scriptNames[shell]));
      const expected: [line: string, words: string[]][] = [
        ["tdb ten", ["tenants"]],
        ["tdb tenants cr", ["create"]],
        ["tdb --json tenants create --bl", ["--blueprint"]],
        ["tdb workspaces create --name x --mode ", ["control", "tenant"]],
        ["tdb completion b", ["bash"]],
        ["tdb deployments status dep_1 --results f", ["failed"]],
        ["tdb up --pg-p", ["--pg-port"]],
        ["tdb up --log-level w", ["warn"]],
        ["tdb master-key rotate --da", ["--data-dir"]],
      ];
      const found = await completeIn(
        shell,
        folder,
        expected.map(([line]) => line),
      );
      expect(found).toEqual(expected.map(([, words]) => words));
    });
  }

  it(
    "an end: what has tenants stays, and goes when they are gone",
    async () => {
      expect(await refused("workspaces", "delete", "app")).toContain("✗");
      for (const tenant of ["acme", "wayne"]) expect(await done("tenants", "delete", tenant, "--hard")).toBe(`✓ Tenant '${tenant}' deleted\n`);
      expect(await done("workspaces", "delete", "app")).toBe("✓ Workspace 'app' deleted\n");
      expect(await done("workspaces", "list", "--quiet")).toBe("");
    },
    longMs,
  );
});

// The last of the file: nothing else can be asked of this gateway from here afterwards.
describe("the API's limit for an address", () => {
  it("is 100 requests a second, and whoever goes over it again and again is banned for minutes", async () => {
    const url = `${gateway.credentials.api_url}/health`;
    const waits: number[] = [];
    await until(async () => {
      const answers = await Promise.all(Array.from({ length: 300 }, () => fetch(url)));
      await Promise.all(answers.map((answer) => answer.text()));
      waits.push(...answers.filter(({ status }) => status === 429).map(({ headers }) => Number(headers.get("retry-after"))));
      return waits.some((wait) => wait > 200);
    });
    expect(waits.some((wait) => wait === 1)).toBe(true);
    const banned = await fetch(url);
    expect(banned.status).toBe(429);
    expect(await banned.json()).toMatchObject({ success: false, code: "rate_limited", retry_after_s: expect.any(Number) });
    expect(Number(banned.headers.get("retry-after"))).toBeLessThanOrEqual(300);
  });
});
