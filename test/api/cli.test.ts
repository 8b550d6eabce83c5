/** Command line: every command against the API in memory; what it prints, where it writes, how it ends. */
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { formatJson, formatProgress, formatTable, sanitize } from "../../api/cli/print.ts";
import { GatewayError } from "../../core/errors.ts";
import { makeCli } from "./support/cli.ts";
import { operatorToken } from "./support/world.ts";

describe("tdb", () => {
  it.each([
    ["projects list", "A"],
    ["apikeys list", "tenantsdb_sk_0000…"],
    ["workspaces list", "controlplane"],
    ["workspaces get myapp", "public.accounts"],
    ["workspaces query myapp --query SELECT", "SELECT: 1 row, 2 ms"],
    ["workspaces settings myapp", "max_connections     100"],
    ["workspaces settings myapp --max-connections 20 --allow-copy true", "max_connections     20"],
    ["workspaces create --name fresh --mode control", "✓ Workspace made"],
    ["workspaces delete controlplane", "✓ Workspace 'controlplane' deleted"],
    ["blueprints list", "myapp"],
    ["blueprints get myapp", "CREATE TABLE t3 (id int);"],
    ["blueprints versions myapp", "CREATE TABLE t2 (id int)"],
    ["tenants list", "myapp v1, other_app v1"],
    ["tenants get wayne", "myapp__wayne"],
    ["tenants create --name acme --blueprint myapp,other_app", "✓ Tenant acme is ready"],
    ["tenants suspend wayne", "✓ Tenant wayne is suspended"],
    ["tenants resume wayne", "✓ Tenant wayne is ready"],
    ["tenants delete wayne", "moved to trash"],
    ["tenants delete wayne --hard", "✓ Tenant 'wayne' deleted"],
    ["tenants restore wayne", "✓ Tenant wayne is ready"],
    ["tenants settings wayne --query-timeout-ms 5000", "query_timeout_ms    5000"],
    ["tenants settings globex --blueprint other_app --unset pool_mode", "pool_mode           session"],
    ["tenants deployments wayne", "pending"],
    ["apikeys create --name ci --scope-type tenant --scope-values wayne --role read --expires 90d", "✓ Key made"],
    ["deployments list", "queued"],
    ["deployments create --blueprint myapp --all", "0 of 3 done"],
    ["deployments create --blueprint myapp --version 2 --tenant wayne,globex", "myapp version 2"],
    ["query --tenant wayne --query SELECT", "SELECT: 1 row, 2 ms"],
    ["query --tenant wayne SELECT", "SELECT: 1 row, 2 ms"],
    ["sessions", "myapp__wayne"],
    ["sessions list", "in_transaction"],
    ["sessions kill 9f2c41d07ab3", "✓ Session '9f2c41d07ab3' ended"],
    ["bans", "192.0.2.66"],
    ["bans lift 192.0.2.66", "✓ Ban of '192.0.2.66' lifted"],
    ["audit --since 1h --until 2027-01-31T00:00:00Z --credential key_5f --limit 10", "WHO"],
    ["config show", "environment"],
    ["version", "tdb v"],
    ["--version", "tdb v"],
  ])("%s", async (line, shown) => {
    const cli = await makeCli();
    const plain = await cli.run(line.split(" "));
    expect(plain).toMatchObject({ code: 0, err: "" });
    expect(plain.out).toContain(shown);
    const again = await makeCli();
    const json = await again.run([...line.split(" "), "--json"].filter((word) => word !== "--version" || line !== "--version"));
    if (line !== "--version") expect(JSON.parse(json.out)).toBeInstanceOf(Object);
  });

  it("prints ids only with --quiet, and global options work before and after the command", async () => {
    const cli = await makeCli();
    expect((await cli.run(["--quiet", "tenants", "list"])).out).toBe("wayne\nglobex\nsolo\n");
    expect((await cli.run(["tenants", "list", "--quiet"])).out).toBe("wayne\nglobex\nsolo\n");
    expect(JSON.parse((await cli.run(["--json", "tenants", "get", "wayne"])).out)).toMatchObject({ success: true, tenant_id: "wayne" });
  });

  it("pages, and says how to go on", async () => {
    const cli = await makeCli();
    const first = await cli.run(["tenants", "list", "--limit", "2", "--quiet"]);
    expect(first.out).toBe("wayne\nglobex\n");
    expect((await cli.run(["tenants", "list", "--limit", "2"])).err).toContain("--cursor 2");
    expect((await cli.run(["tenants", "list", "--cursor", "2", "--quiet"])).out).toBe("solo\n");
  });

  it("writes to a file only its owner can read with --output", async () => {
    const cli = await makeCli();
    const file = join(cli.home, "out", "tenant.json");
    const run = await cli.run(["tenants", "create", "--name", "acme", "--blueprint", "myapp", "--json", "--output", file]);
    expect(run).toMatchObject({ code: 0, out: "" });
    expect(JSON.parse(await readFile(file, "utf8"))).toMatchObject({ tenant_id: "acme" });
    expect((await stat(file)).mode & 0o777).toBe(0o600);
  });

  it("reads a statement from standard input, and sends parameters", async () => {
    const cli = await makeCli();
    const run = await cli.run(["query", "--tenant", "wayne", "--query", "-", "--param", "a,b", "--param", "2"], {
      input: "SELECT $1, $2",
      env: { TDB_API_KEY: cli.world.key },
    });
    expect(run.code).toBe(0);
    expect(cli.world.control.calls).toEqual(["queryTenant wayne admin myapp"]);
  });

  it("reads a piped statement without being told, and never waits for one on a terminal", async () => {
    const cli = await makeCli();
    expect(await cli.run(["query", "--tenant", "wayne"], { input: "SELECT 1" })).toMatchObject({ code: 0 });
    expect(cli.world.control.calls).toEqual(["queryTenant wayne admin myapp"]);
    const alone = await cli.run(["query", "--tenant", "wayne"], { hasInput: false });
    expect(alone).toMatchObject({ code: 2, out: "" });
    expect(alone.err).toContain("give a statement");
    const twice = await cli.run(["query", "--tenant", "wayne", "SELECT 1", "--query", "SELECT 2"]);
    expect(twice).toMatchObject({ code: 2 });
    expect(twice.err).toContain("give the statement once");
    expect(cli.world.control.calls).toHaveLength(1);
  });

  it("lists, adds, changes and removes clusters for the operator, the password out of sight", async () => {
    const cli = await makeCli();
    const run = (line: string, url?: string) =>
      cli.run(["clusters", ...line.split(" ").filter(Boolean)], { env: { TDB_API_KEY: operatorToken, ...(url && { TDB_CLUSTER_CONNECTION: url }) } });
    const url = (host: string) => `postgresql://postgres:SECRET@${host}/postgres?sslmode=verify-full`;
    await writeFile(join(cli.home, "ca.pem"), "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
    const added = await run(`add --name eu2 --ca-file ${join(cli.home, "ca.pem")}`, url("db2.example"));
    expect(added).toMatchObject({ code: 0, err: "", out: expect.stringContaining("db2.example:5432") });
    expect(cli.world.operations.clusters[1]!.connection).toMatchObject({ password: "SECRET", ca: expect.stringContaining("MIIB") });
    expect((await run("--quiet")).out).toBe("eu2\nmain\n");
    const changed = await run("update eu2", url("db3.example"));
    expect(changed.out).toContain("db3.example:5432");
    expect((await run("remove eu2")).out).toBe("✓ Cluster 'eu2' removed\n");
    expect((await run("audit --since 1h")).out).toMatch(/DELETE[\s\S]*PATCH[\s\S]*db3\.example:5432[\s\S]*POST[\s\S]*db2\.example:5432/);
    expect(added.out + changed.out).not.toContain("SECRET");
    expect(await run("add --name eu3")).toMatchObject({ code: 2, err: expect.stringContaining("TDB_CLUSTER_CONNECTION") });
    expect((await cli.run(["clusters"])).err).toContain("operator");
  });

  it("makes a tenant where it is told to: on a named cluster, on a level, else as the API decides", async () => {
    const cli = await makeCli();
    const levelOf = async (name: string, ...where: string[]) => {
      expect((await cli.run(["tenants", "create", "--name", name, "--blueprint", "myapp", ...where])).code).toBe(0);
      return JSON.parse((await cli.run(["tenants", "get", name, "--json"])).out).databases[0].isolation_level;
    };
    expect(await levelOf("a")).toBe(1);
    expect(await levelOf("b", "--cluster", "main")).toBe(1);
    expect(await levelOf("c", "--cluster", "eu2")).toBe(2);
    expect(await levelOf("d", "--isolation", "2")).toBe(2);
  });

  it("shows what was changed, and sends the filters", async () => {
    const cli = await makeCli();
    await cli.run(["tenants", "suspend", "wayne"]);
    const shown = await cli.run(["audit", "--since", "1h", "--credential", "key_5f"]);
    expect(shown.out).toContain("POST /tenants/{id}/suspend");
    expect(shown.out).toContain("127.0.0.1");
    expect(cli.world.operations.pages).toMatchObject([{ limit: 100, credentialId: "key_5f" }]);
    expect(await cli.run(["audit", "--since", "yesterday"])).toMatchObject({ code: 1 });
  });
});

describe("tdb exit codes and errors", () => {
  it.each([
    [[], "Usage: tdb"],
    [["tenants"], "Usage: tdb tenants"],
    [["tenants", "creat"], "Did you mean create?"],
    [["frobnicate"], "unknown command"],
    [["tenants", "create"], "required option '--name"],
    [["tenants", "list", "--limit", "many"], "must be a whole number"],
    [["apikeys", "create", "--name", "k", "--role", "owner"], "Allowed choices are read, write, admin"],
    [["apikeys", "create", "--name", "k", "--expires", "someday"], "--expires must be a time"],
    [["deployments", "create", "--blueprint", "myapp"], "either --all or --tenant"],
    [["projects", "delete", "tdb_1", "--confirm", "tdb_2"], "--confirm must repeat"],
    [["tenants", "settings", "wayne", "--unset", "colour"], "no such setting"],
    [["config", "set"], "name what to set"],
    [["tenants", "list", "--api-url", "localhost"], "must be a http"],
    [["signup", "--email", "a@b.example"], "a password is needed"],
  ] as const)("%j ends with 2", async (args, message) => {
    const cli = await makeCli();
    const run = await cli.run(args, { env: {} });
    expect(run.code).toBe(2);
    expect(run.err).toContain(message);
    expect(run.out).toBe("");
  });

  it("teaches with --help, and ends with 0", async () => {
    const cli = await makeCli();
    for (const args of [["--help"], ["help"], ["tenants", "--help"], ["deployments", "create", "--help"]]) {
      const run = await cli.run(args);
      expect(run).toMatchObject({ code: 0, err: "" });
      expect(run.out).toContain("Usage: tdb");
    }
    expect((await cli.run(["--help"])).out).toContain("tdb tenants create --name wayne --blueprint myapp");
  });

  it("says on standard error what the API refused, what to do next, and ends with 1", async () => {
    const cli = await makeCli();
    const missing = await cli.run(["tenants", "get", "nobody"]);
    expect(missing).toEqual({ code: 1, out: "", err: "✗ Tenant not found: nobody\n" });
    const nobody = await cli.run(["tenants", "list"], { env: {} });
    expect(nobody).toMatchObject({ code: 1, err: expect.stringContaining("tdb login") });
    const low = await cli.run(["tenants", "suspend", "wayne"], { env: { TDB_API_KEY: cli.world.keys.project.read } });
    expect(low.err).toContain('needs the role "admin"');
    const bad = await cli.run(["workspaces", "create", "--name", "a__b", "--redirect-to", "x"]);
    expect(bad.err).toContain("- name: must be 1-40 characters");
    expect(bad.err).toContain("- redirect_to: must be host:port");
    cli.world.control.failure = new GatewayError("query_failed", "syntax error \u001b[31m", { hint: "look\u0007" });
    const failed = await cli.run(["query", "--tenant", "wayne", "--query", "x"]);
    expect(failed.err).toBe("✗ syntax error \\x1b[31m\n  hint: look\\x07\n");
  });

  it("gives the API's refusal as JSON with --json", async () => {
    const cli = await makeCli();
    const run = await cli.run(["tenants", "get", "nobody", "--json"]);
    expect(run.out).toBe("");
    expect(JSON.parse(run.err)).toMatchObject({ success: false, code: "not_found", http_status: 404 });
  });

  it("says where it looked for an API that does not answer", async () => {
    const cli = await makeCli();
    const run = await cli.run(["tenants", "list", "--api-url", "http://127.0.0.1:1"]);
    expect(run.code).toBe(1);
    expect(run.err).toContain("Tried http://127.0.0.1:1");
    expect(run.err).toContain("tdb up");
  });

  it("does not let an id wander to another path", async () => {
    const cli = await makeCli();
    for (const id of ["..", ".", "../tenants", "wayne/../globex", "a?hard=true", "wayne#x", "%2e%2e"]) {
      expect((await cli.run(["tenants", "delete", id])).code, id).toBe(1);
    }
    expect(cli.world.control.calls).toEqual([]);
  });
});

describe("tdb deployments --wait", () => {
  it("follows a deployment to its end with a bar on a terminal", async () => {
    const cli = await makeCli();
    cli.onSleep = () => cli.world.control.waitForDeployment(cli.world.projectId, cli.world.control.deployments.at(-1)!.id);
    const run = await cli.run(["deployments", "create", "--blueprint", "myapp", "--all", "--wait"], {
      isTTY: true,
      env: { TDB_API_KEY: cli.world.key },
    });
    expect(run.code).toBe(0);
    expect(run.err).toBe("\r[--------------------] 0/3\r[####################] 3/3\n");
    expect(run.out).toMatch(/3 of 3 done, 0 failed[\s\S]*wayne .*done/);
    expect(cli.world.control.resultsAsked).toEqual(["none", "none", "none", "all"]); // started, asked twice, shown
  });

  it("puts together the pages that results come in, and shows the failed ones alone when asked to", async () => {
    const cli = await makeCli();
    const [deployment] = cli.world.control.deployments;
    const [one] = deployment!.results;
    const results = Array.from({ length: 2345 }, (_, i) => ({
      ...one!,
      tenantId: `t${i}`,
      status: i === 7 ? ("failed" as const) : ("done" as const),
    }));
    cli.world.control.deployments[0] = { ...deployment!, results };
    const shown = async (...args: string[]) => JSON.parse((await cli.run(["deployments", ...args, deployment!.id, "--json"])).out);
    expect((await shown("status")).results.map((each: { tenant_id: string }) => each.tenant_id)).toEqual(results.map((each) => each.tenantId));
    expect((await shown("status", "--results", "failed")).results).toMatchObject([{ tenant_id: "t7" }]);
    expect(await shown("cancel")).toMatchObject({ status: "cancelled", tenants_total: 3, results: [] });
  });

  it("ends with 1 when the deployment failed", async () => {
    const cli = await makeCli();
    const [deployment] = cli.world.control.deployments;
    cli.world.control.deployments[0] = { ...deployment!, state: "failed" };
    const run = await cli.run(["deployments", "status", deployment!.id, "--wait"]);
    expect(run.code).toBe(1);
    expect(run.err).toContain(`tdb deployments retry ${deployment!.id}`);
  });
});

describe("tdb configuration", () => {
  it("keeps what signing up gave, for its owner only, and uses it", async () => {
    const cli = await makeCli();
    const run = await cli.run(["signup", "--email", "eve@example.com"], { env: {}, secret: "long enough" });
    expect(run.out).toContain("proxy_password");
    expect(await cli.configMode()).toBe(0o600);
    const config = await cli.readConfig();
    expect(config).toMatchObject({ api_url: "http://127.0.0.1:9876", project_id: expect.stringMatching(/^tdb_/) });
    expect((await cli.run(["tenants", "list", "--json"], { env: {} })).out).toContain('"count": 0');
    const shown = await cli.run(["config", "show"], { env: {} });
    expect(shown.out).toContain("configuration file");
    expect(shown.out).not.toContain(config.api_key);
  });

  it("logs out", async () => {
    const cli = await makeCli();
    await cli.run(["login", "--email", "ada@example.com"], { env: { TDB_PASSWORD: "correct horse" } });
    expect((await cli.run(["logout"], { env: {} })).out).toBe("✓ Logged out; 1 session ended\n");
    expect((await cli.readConfig()).session_token).toBeUndefined();
    expect(await cli.run(["logout"], { env: {} })).toMatchObject({ code: 2, err: expect.stringContaining("there is no session here") });
  });

  it("logs in, then works on and switches between the account's projects", async () => {
    const cli = await makeCli();
    const login = await cli.run(["login", "--email", "ada@example.com"], { env: { TDB_PASSWORD: "correct horse" } });
    expect(login.out).toContain(`working on ${cli.world.projectId}`);
    expect((await cli.run(["tenants", "list", "--quiet"], { env: {} })).out).toBe("wayne\nglobex\nsolo\n");
    const { out } = await cli.run(["projects", "create", "--name", "Second", "--quiet"], { env: {} });
    const second = out.trim();
    expect((await cli.run(["tenants", "list", "--quiet"], { env: {} })).out).toBe("wayne\nglobex\nsolo\n");
    expect((await cli.run(["projects", "switch", second], { env: {} })).out).toContain(second);
    expect((await cli.run(["tenants", "list", "--quiet"], { env: {} })).out).toBe("");
    expect((await cli.run(["projects", "switch", cli.world.projectId], { env: {} })).code).toBe(0);
    expect((await cli.run(["tenants", "list", "--quiet"], { env: {} })).out).toBe("wayne\nglobex\nsolo\n");
    expect(await cli.run(["projects", "switch", cli.world.otherProjectId], { env: {} })).toMatchObject({
      code: 1,
      err: expect.stringContaining("not found"),
    });
    expect((await cli.run(["projects", "delete", second, "--confirm", second], { env: {} })).code).toBe(0);
    expect((await cli.readConfig()).projects).toEqual({});
  });

  it("remembers an address and a key, flags and environment first", async () => {
    const cli = await makeCli();
    await cli.run(["config", "set", "--api-url", "http://db.example:9876", "--api-key", cli.world.keys.tenant.read], { env: {} });
    expect(await cli.readConfig()).toEqual({ api_url: "http://db.example:9876", api_key: cli.world.keys.tenant.read });
    expect((await cli.run(["tenants", "list"], { env: {} })).err).toContain("tenant-scoped");
    expect((await cli.run(["tenants", "list"], { env: { TDB_API_KEY: cli.world.key } })).code).toBe(0);
    expect((await cli.run(["tenants", "list", "--api-key", cli.world.keys.tenant.read], { env: { TDB_API_KEY: cli.world.key } })).code).toBe(1);
    expect((await cli.run(["config", "show", "--quiet"], { env: { TDB_API_URL: "http://other.example" } })).out).toBe("http://other.example\n");
  });

  it("uses the gateway started in this folder when nothing else is set, and sends its key nowhere else", async () => {
    const cli = await makeCli();
    await cli.writeLocalCredentials();
    expect((await cli.run(["tenants", "list", "--quiet"], { env: {} })).out).toBe("wayne\nglobex\nsolo\n");
    expect((await cli.run(["config", "show"], { env: {} })).out).toContain("credentials.json");
    expect((await cli.run(["tenants", "list"], { env: {} })).code).toBe(0);
    expect((await cli.run(["tenants", "list", "--api-url", "http://elsewhere.example"], { env: {} })).err).toContain("Authorization header required");
  });

  it("says which file it cannot understand", async () => {
    const cli = await makeCli();
    await cli.writeLocalCredentials({ api_key: 7 });
    const run = await cli.run(["tenants", "list"], { env: {} });
    expect(run).toMatchObject({ code: 1, err: expect.stringContaining("credentials.json: mend it or remove it") });
  });
});

describe("tdb psql", () => {
  it("opens a workspace with the password in the environment, never in the arguments", async () => {
    const cli = await makeCli();
    await cli.writeLocalCredentials({ ca_file: "/ca.pem" });
    expect((await cli.run(["psql", "myapp", "--", "-c", "SELECT 1"], { env: {} })).code).toBe(0);
    const { projectId } = cli.world;
    const tls = { PGSSLMODE: "verify-full", PGSSLROOTCERT: "/ca.pem" };
    const place = { PGHOST: "pg.example.com", PGPORT: "5432", PGDATABASE: "myapp_workspace", PGUSER: projectId };
    expect(cli.programs).toEqual([
      { command: "psql", args: ["-c", "SELECT 1"], env: { ...place, PGPASSWORD: "tdb_0123456789abcdef", PGREQUIREAUTH: "scram-sha-256", ...tls } },
    ]);
  });

  it.each([
    [
      { pg_host: "pg.example.com", pg_port: 5432 },
      { PGSSLMODE: "verify-full", PGSSLROOTCERT: "/ca.pem" },
    ],
    [{ pg_host: "localhost", pg_port: 5432 }, { PGSSLMODE: "require" }],
    [{ pg_host: "pg.example.com", pg_port: 6432 }, { PGSSLMODE: "require" }],
  ])("believes this folder's CA for its own gateway only: %j", async (where, tls) => {
    const cli = await makeCli();
    await cli.writeLocalCredentials({ ca_file: "/ca.pem", api_url: "http://localhost:9876", ...where });
    const env = { TDB_API_KEY: cli.world.key, TDB_PROXY_PASSWORD: "tdb_given" };
    expect((await cli.run(["psql", "wayne"], { env })).code).toBe(0);
    const { PGSSLMODE, PGSSLROOTCERT } = cli.programs[0]!.env;
    expect({ PGSSLMODE, PGSSLROOTCERT }).toEqual({ PGSSLROOTCERT: undefined, ...tls });
  });

  it("opens a tenant with the password that was given", async () => {
    const cli = await makeCli();
    const env = { TDB_API_KEY: cli.world.key, TDB_PROXY_PASSWORD: "tdb_given" };
    for (const args of [["wayne"], ["myapp__wayne"], ["globex", "--blueprint", "other_app"]])
      expect((await cli.run(["psql", ...args], { env })).code).toBe(0);
    expect(cli.programs.map((program) => program.env.PGDATABASE)).toEqual(["myapp__wayne", "myapp__wayne", "other_app__globex"]);
    expect(cli.programs[0]!.env).toMatchObject({ PGPASSWORD: "tdb_given", PGSSLMODE: "require" });
    const asked = await cli.run(["psql", "wayne", "--password"], { env: { TDB_API_KEY: cli.world.key }, secret: "tdb_typed" });
    expect(asked.code).toBe(0);
    expect(cli.programs.at(-1)!.env.PGPASSWORD).toBe("tdb_typed");
  });

  it("says what is missing", async () => {
    const cli = await makeCli();
    expect(await cli.run(["psql", "nobody"])).toMatchObject({ code: 1, err: expect.stringContaining("no workspace and no tenant nobody") });
    expect(await cli.run(["psql", "wayne"])).toMatchObject({ code: 1, err: expect.stringContaining("set TDB_PROXY_PASSWORD") });
    expect(await cli.run(["psql", "globex"])).toMatchObject({
      code: 2,
      err: expect.stringContaining("add --blueprint with one of myapp, other_app"),
    });
    expect(await cli.run(["psql", "shop"])).toMatchObject({ code: 1, err: expect.stringContaining("is MySQL, not PostgreSQL") });
    expect(cli.programs).toEqual([]);
  });
});

describe("tdb completion", () => {
  it.each(["bash", "zsh", "fish"])("knows every command in %s", async (shell) => {
    const cli = await makeCli();
    const { out } = await cli.run(["completion", shell]);
    for (const word of ["tenants", "apikeys", "rotate", "--scope-values", "--lock-timeout-ms", "up"]) expect(out).toContain(word);
    for (const word of ["--pg-port", "--no-signup-enabled", "--check", "debug info warn error", "continue hold"]) expect(out).toContain(word);
  });
});

describe("output", () => {
  it("shows control characters instead of sending them", () => {
    expect(sanitize("a\u001b[2Jb\u0007\u009bc\u202ed\te\n")).toBe("a\\x1b[2Jb\\x07\\x9bc\\u202ed\te\n");
    const json = formatJson({ a: "\u001b\u009b\u202e\u007f" });
    expect(json).toBe('{\n  "a": "\\u001b\\u009b\\u202e\\u007f"\n}');
    expect(JSON.parse(json)).toEqual({ a: "\u001b\u009b\u202e\u007f" });
    expect(formatTable(["A\u001b"], [["x\u001b]0;t\u0007"], [null], [{ a: 1 }]])).not.toContain("\u001b");
  });

  it("draws progress", () => {
    expect(formatProgress(0, 0, 0)).toBe("[####################] 0/0");
    expect(formatProgress(3, 1, 8)).toBe("[##########----------] 4/8, 1 failed");
  });
});
