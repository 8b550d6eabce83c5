/** Backups in pg_dump's custom format through whole gateways on a server of the same version, reached over TLS: made, downloaded, restored. */
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type PostgresServer, startPostgres } from "../../bench/stage/postgres.ts";
import { chooseServerUser, prepareDataDir } from "../../gateway/embedded/directories.ts";
import { isAlive } from "../../gateway/embedded/process.ts";
import { findDebianPostgres, missingDebianPostgres } from "../support/debian-postgres.ts";
import { type Api, makeApi } from "./support/api.ts";
import { parseTarget, psql, type Target } from "./support/clients.ts";
import { type GatewayProcess, type RuntimeUnderTest, run, startGateway, tdb } from "./support/gateway.ts";
import { until } from "./support/until.ts";

const debian = findDebianPostgres();
const rows = 20_000;
const summary = "SELECT count(*), sum(id), md5(string_agg(name || coalesce(extra, '-'), ',' ORDER BY id)) FROM accounts";

interface Shop {
  readonly gateway: GatewayProcess;
  readonly api: Api;
  ask(method: string, path: string, body?: unknown): ReturnType<Api>;
  /** What a tenant holds. */
  look(target: Target): Promise<string>;
  readonly wayne: Target;
}

describe.skipIf(!debian)(`archives${debian ? "" : ` (${missingDebianPostgres})`}`, () => {
  let dir: string;
  let tools: string;
  let server: PostgresServer;
  const gateways: GatewayProcess[] = [];
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "tdb-archives-"));
    const user = await chooseServerUser();
    await prepareDataDir(dir, user);
    server = await startPostgres(dir, user, debian?.binDir);
    tools = await makeTools(join(dir, "tools"));
  }, 60_000);
  afterAll(async () => {
    for (const gateway of gateways) await gateway.dispose();
    await server?.stop();
    await rm(dir, { recursive: true, force: true });
  });

  /** The real programs, pg_dump by a script that writes down how it was called and does what the file `mode` says. */
  async function makeTools(folder: string): Promise<string> {
    await mkdir(folder);
    const dump = `#!/bin/sh
[ "$1" = --version ] && exec ${debian?.binDir}/pg_dump --version
case "$(cat ${dir}/mode 2>/dev/null)" in
kill) ${debian?.binDir}/pg_dump "$@" | head -c 2000; kill -9 $$ ;;
hang) echo $$ > ${dir}/hanging; exec sleep 1000 ;;
esac
printf '%s\\n' "$@" > ${dir}/arguments
env > ${dir}/environment
exec ${debian?.binDir}/pg_dump "$@"
`;
    await writeFile(join(folder, "pg_dump"), dump);
    await writeFile(join(folder, "pg_restore"), `#!/bin/sh\nexec ${debian?.binDir}/pg_restore "$@"\n`);
    for (const path of [folder, join(folder, "pg_dump"), join(folder, "pg_restore")]) await chmod(path, 0o755);
    return folder;
  }

  async function start(runtime: RuntimeUnderTest): Promise<GatewayProcess> {
    const ca = encodeURIComponent(join(dir, "ca/ca.crt"));
    const url = `postgresql://${server.user}:${server.password}@127.0.0.1:${server.port}/store_${runtime}?sslmode=verify-full&sslrootcert=${ca}`;
    const gateway = await startGateway({
      runtime,
      args: ["--database-url", url, "--backup-client-tools-dir", tools],
      env: { SECRET_OF_THE_GATEWAY: "not for children", PGSERVICE: "elsewhere" },
    });
    gateways.push(gateway);
    return gateway;
  }

  async function makeShop(runtime: RuntimeUnderTest): Promise<Shop> {
    const admin = await server.connect("postgres");
    await admin.query(`CREATE DATABASE store_${runtime}`).finally(() => admin.end());
    const gateway = await start(runtime);
    const { api_url, api_key, project_id: user, proxy_password: password } = gateway.credentials;
    const api = makeApi(api_url, api_key);
    const ask: Shop["ask"] = async (method, path, body) => {
      const answer = await api(method, path, body);
      if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.body)}`);
      return answer;
    };
    await ask("POST", "/workspaces", { name: "myapp", database: "PostgreSQL" });
    const made = await psql(
      gateway,
      { user, password, database: "myapp_workspace" },
      "CREATE TABLE accounts (id serial PRIMARY KEY, name text NOT NULL, extra text)",
      "CREATE VIEW names AS SELECT name FROM accounts",
      "CREATE TABLE notes (id int)",
    );
    expect(made.stderr).toBe("");
    const tenant = await ask("POST", "/tenants", { tenant_id: "wayne", databases: [{ blueprint: "myapp" }] });
    const wayne = parseTarget(tenant.body.databases[0].connection_string);
    await psql(gateway, wayne, `INSERT INTO accounts (name, extra) SELECT 'first ' || g, repeat(md5(g::text), 8) FROM generate_series(1, ${rows}) g`);
    const look = async (target: Target) => {
      const found = await psql(gateway, target, summary);
      expect(found.stderr).toBe("");
      return found.stdout.trim();
    };
    return { gateway, api, ask, look, wayne };
  }

  const backUp = async ({ ask }: Shop, body: object = {}) => (await ask("POST", "/tenants/wayne/backup", { wait: true, ...body })).body;

  const filesOf = async ({ gateway }: Shop) => (await readdir(join(gateway.dataDir, "backups"), { recursive: true })).sort();

  it("are made where pg_dump is as new as the server, restored by anybody's pg_restore, by a rollback and as a new tenant", async () => {
    const shop = await makeShop("node");
    const { gateway, api, ask, look, wayne } = shop;
    const env = { TDB_API_URL: gateway.credentials.api_url, TDB_API_KEY: gateway.credentials.api_key, HOME: gateway.dataDir };
    const made = JSON.parse((await tdb("node", ["--json", "tenants", "backup", "wayne"], env)).stdout);
    expect(made).toMatchObject({ status: "ready", format: "custom", version: 3, tables: 2, rows, error: null });
    expect((await ask("GET", "/tenants/wayne/backups")).body.backups).toMatchObject([{ id: made.id, format: "custom" }]);
    const before = await look(wayne);

    const environment = await readFile(join(dir, "environment"), "utf8");
    expect(environment).toMatch(/^PGSSLMODE=verify-full$/m);
    expect(environment).not.toMatch(/SECRET_OF_THE_GATEWAY|PGSERVICE|TDB_/);
    expect(await readFile(join(dir, "arguments"), "utf8")).not.toContain(server.password);

    const folder = join(dir, "downloads");
    await mkdir(folder);
    const file = join(folder, "wayne.dump");
    expect(await tdb("node", ["tenants", "backup-download", "wayne", made.id, "--file", file], env)).toMatchObject({ code: 0, stderr: "" });
    const named = await fetch(`${gateway.credentials.api_url}/tenants/wayne/backups/${made.id}/download`, {
      headers: { authorization: `Bearer ${gateway.credentials.api_key}` },
    });
    await named.body?.cancel();
    expect(named.headers.get("content-disposition")).toBe(`attachment; filename="wayne-${made.id}.dump"`);
    // As docs/backups.md says.
    const admin = await server.connect("postgres");
    await admin.query("CREATE DATABASE anywhere TEMPLATE template0").finally(() => admin.end());
    const anywhere = await server.connect("anywhere");
    await anywhere.query("DROP SCHEMA public");
    const login = { PGHOST: server.socketDir, PGPORT: String(server.port), PGUSER: server.user, PGPASSWORD: server.password };
    const restored = await run(`${debian!.binDir}/pg_restore`, ["--no-owner", "--exit-on-error", "-d", "anywhere", file], login);
    expect(restored).toMatchObject({ code: 0, stderr: "" });
    const { rows: there } = await anywhere.query({
      text: summary.replace("accounts", "public.names JOIN public.accounts USING (name)"),
      rowMode: "array",
    });
    expect(there[0]?.join("|")).toBe(before);
    await anywhere.end();

    await psql(gateway, wayne, "DELETE FROM accounts WHERE id % 2 = 0", "INSERT INTO accounts (name) VALUES ('later')");
    const rolled = (await ask("POST", "/tenants/wayne/rollback", { backup_id: made.id, wait: true })).body;
    expect(rolled).toMatchObject({ status: "done", warnings: [], error: null });
    expect(await look(wayne)).toBe(before);
    expect((await psql(gateway, wayne, "INSERT INTO accounts (name) VALUES ('next') RETURNING id")).stdout).toContain(String(rows + 1));
    const twin = (await ask("POST", `/tenants/wayne/backups/${made.id}/restore`, { tenant_id: "twin" })).body;
    expect(await look(parseTarget(twin.databases[0].connection_string))).toBe(before);

    expect(await backUp(shop, { format: "own" })).toMatchObject({ status: "ready", format: "own" });
    expect(await api("POST", "/tenants/wayne/backup", { format: "tar" })).toMatchObject({ status: 400 });
  }, 90_000);

  it("a pg_dump that is killed half-way fails its backup and nothing else; one that hangs ends with the gateway", async () => {
    const shop: Shop = await reopen(gateways[0]!);
    const before = await filesOf(shop);
    await writeFile(join(dir, "mode"), "kill");
    const failed = await backUp(shop, { format: "custom" });
    expect(failed).toMatchObject({ status: "failed", error: "The backup was not made: pg_dump was ended by signal SIGKILL" });
    expect(await filesOf(shop)).toEqual(before);
    await writeFile(join(dir, "mode"), "hang");
    const { id } = (await shop.ask("POST", "/tenants/wayne/backup", {})).body;
    let pid = 0;
    await until(async () => {
      pid = Number(await readFile(join(dir, "hanging"), "utf8").catch(() => ""));
      return pid > 0;
    });
    expect(await isAlive(pid)).toBe(true);
    expect(await shop.gateway.stop()).toBe(0);
    expect(await isAlive(pid)).toBe(false);
    await rm(join(dir, "mode"));
    // It was broken off, not failed: whoever comes next makes it.
    const after = await server.connect("store_node");
    expect((await after.query("SELECT state, error FROM tenantry.backups WHERE id = $1", [id])).rows).toEqual([{ state: "queued", error: null }]);
    await after.end();
  }, 60_000);

  async function reopen(gateway: GatewayProcess): Promise<Shop> {
    const { api_url, api_key } = gateway.credentials;
    const api = makeApi(api_url, api_key);
    return { gateway, api, ask: api, look: () => Promise.reject(new Error("not asked for")), wayne: undefined as never };
  }

  it("are made and restored under Deno and Bun", async () => {
    const makeAndRestore = async (runtime: RuntimeUnderTest) => {
      const shop = await makeShop(runtime);
      const made = await backUp(shop);
      expect(made).toMatchObject({ status: "ready", format: "custom", rows });
      const twin = (await shop.ask("POST", `/tenants/wayne/backups/${made.id}/restore`, { tenant_id: "twin" })).body;
      expect(twin.warnings).toEqual([]);
      expect(await shop.look(parseTarget(twin.databases[0].connection_string))).toBe(await shop.look(shop.wayne));
      expect(await backUp(shop, { format: "own" })).toMatchObject({ status: "ready", format: "own", tables: 2, rows });
    };
    await Promise.all([makeAndRestore("deno"), makeAndRestore("bun")]);
  }, 90_000);
});
