/** Imports over the API and the command line: what may be sent, what is shown, and what is never repeated. */
import { describe, expect, it } from "vitest";
import { readConnectionUrl } from "../../api/import-shapes.ts";
import { makeCli } from "./support/cli.ts";
import { fakeImportId } from "./support/fake-imports.ts";
import { makeWorld } from "./support/world.ts";

const url = "postgresql://reader:p%40ss@db.example:6432/shared?sslmode=verify-full";
const connection = {
  engine: "PostgreSQL",
  host: "db.example",
  port: 6432,
  user: "reader",
  password: "p@ss",
  database: "shared",
  sslmode: "verify-full",
};

describe("import endpoints", () => {
  it("take a connection as a URL or in its parts, and fill in the rest", async () => {
    const world = await makeWorld();
    const parts = { engine: "MySQL", host: "db.example", user: "reader", database: "shared" };
    for (const [sent, read] of [
      [url, connection],
      [parts, { ...parts, port: 3306, password: "", sslmode: "require" }],
    ]) {
      const { body } = await world.send("POST", "/workspaces/myapp/import-data", { key: world.key, body: { connection: sent } });
      expect(body).toMatchObject({
        http_status: 202,
        import_id: fakeImportId,
        status: "queued",
        tenants: [{ tenant_id: "wayne_52e1e7a8", credential_id: "key_0000000a" }],
      });
      expect(JSON.stringify(body)).not.toContain("p@ss");
      expect(world.imports.requests.at(-1)).toMatchObject({
        kind: "data",
        request: {
          connection: read,
          options: { routingField: "tenant_id", createTenants: true, dropRoutingColumn: true, sharedTables: undefined, verify: "checksum" },
        },
      });
    }
    await world.send("POST", "/workspaces/myapp/import-full", {
      key: world.key,
      body: { connection: url, shared_tables: "copy", tenant_ids: { Wayne: "wayne" } },
    });
    expect(world.imports.requests.at(-1)).toMatchObject({
      kind: "full",
      request: { options: { sharedTables: "copy", tenantIds: { Wayne: "wayne" } } },
    });
    const analysis = await world.send("POST", "/workspaces/myapp/import-data/analyze?full=true", { key: world.key, body: { connection: url } });
    expect(analysis.body).toMatchObject({
      tenant_count: 1,
      unowned_rows: 2,
      tables: [{ table: "orders", unowned: [{ reason: "null_routing_field", rows: 2 }] }],
    });
    expect(world.imports.requests.at(-1)).toMatchObject({ verb: "analyze", kind: "full" });
  });

  it.each([
    [{}, ["connection"]],
    [{ connection: "postgresql://db.example/shared" }, ["connection"]],
    [{ connection: "postgresql://u:secret@db.example/shared?sslmode=prefer" }, ["connection"]],
    [{ connection: "redis://u:secret@db.example/0" }, ["connection"]],
    [{ connection: { ...connection, port: 0 } }, ["connection"]],
    [{ connection: url, routing_field: "" }, ["routing_field"]],
    [{ connection: url, shared_tables: "maybe", verify: "hope" }, ["shared_tables", "verify"]],
    [
      { connection: url, concurrency: 17, tables: { a: "drop" }, tenant_ids: { Wayne: "Not Legal" } },
      ["tables.a", "tenant_ids.Wayne", "concurrency"],
    ],
    [{ connection: url, surprise: 1 }, ["surprise"]],
  ])("refuse %j and name the field, never the secret", async (body, paths) => {
    const world = await makeWorld();
    for (const path of ["/workspaces/myapp/import-data", "/workspaces/myapp/import-full", "/workspaces/myapp/import-data/analyze"]) {
      const answer = await world.send("POST", path, { key: world.key, body });
      expect(answer.body).toMatchObject({ http_status: 400, code: "bad_request" });
      expect(answer.body.issues.map((issue: { path: string }) => issue.path.split(".").slice(0, paths[0]!.split(".").length).join("."))).toEqual(
        expect.arrayContaining([paths[0]]),
      );
      for (const path of paths) expect(JSON.stringify(answer.body.issues)).toContain(path);
      expect(JSON.stringify(answer.body)).not.toMatch(/secret|p@ss|p%40ss/);
    }
    expect(world.imports.requests).toEqual([]);
  });

  it("follow, stop and retry one, in its own workspace only", async () => {
    const world = await makeWorld();
    const status = (query = "", key = world.keys.workspace.read) => world.send("GET", `/workspaces/myapp/import-data/status${query}`, { key });
    expect((await status()).body).toMatchObject({ status: "queued", rows_total: 10, finished_at: null });
    expect((await status(`?import_id=${fakeImportId}`)).body).toMatchObject({ status: "running" });
    expect((await status()).body).toMatchObject({ status: "done", rows_done: 10, tenants: [{ tables: [{ checksum: "0123456789abcdef" }] }] });
    expect((await status("?import_id=imp_ff")).body).toMatchObject({ http_status: 404 });
    expect((await status("?import_id=x")).body).toMatchObject({ http_status: 400 });
    expect((await status("", world.otherKey)).body).toMatchObject({ http_status: 404, error: "Workspace not found: myapp" });
    for (const verb of ["cancel", "retry"]) {
      const path = `/workspaces/myapp/import-data/${verb}`;
      expect((await world.send("POST", path, { key: world.key, body: {} })).body).toMatchObject({
        http_status: 400,
        issues: [{ path: "import_id" }],
      });
      await world.send("POST", path, { key: world.keys.workspace.admin, body: { import_id: fakeImportId } });
      expect(world.imports.requests.at(-1)!.verb).toBe(`${verb} ${fakeImportId}`);
      expect(
        (
          await world.send("POST", `/workspaces/other_app/import-data/${verb}`, {
            key: world.keys.workspace.admin,
            body: { import_id: fakeImportId },
          })
        ).body,
      ).toMatchObject({
        code: "scope_denied",
      });
    }
  });

  it("record who imported, without the connection", async () => {
    const world = await makeWorld();
    await world.send("POST", "/workspaces/myapp/import-data", { key: world.key, body: { connection: url, shared_tables: "skip" } });
    expect(world.operations.recorded).toMatchObject([{ action: "POST /workspaces/{id}/import-data", after: { shared_tables: "skip" } }]);
    expect(JSON.stringify(world.operations.recorded)).not.toMatch(/p@ss|p%40ss|db\.example/);
  });
});

describe("connection URLs", () => {
  it.each([
    ["postgres://u:p@h/d", { engine: "PostgreSQL", host: "h", port: 5432, user: "u", password: "p", database: "d", sslmode: "require" }],
    [
      "mariadb://u@[2001:db8::1]:33/d%2Fe?sslmode=disable",
      { engine: "MySQL", host: "[2001:db8::1]", port: 33, user: "u", password: "", database: "d/e", sslmode: "disable" },
    ],
    ["mysql://u:%zz@h/d", undefined],
    ["mysql://u:p@h/", undefined],
    ["u:p@h/d", undefined],
  ])("%s", (text, read) => {
    expect(readConnectionUrl(text)).toEqual(read);
  });
});

describe("tdb workspaces import-…", () => {
  it("analyses, starts, follows to the end, stops and retries", async () => {
    const cli = await makeCli();
    const analysis = await cli.run(["workspaces", "import-analyze", "myapp", "--source", url]);
    expect(analysis.code).toBe(0);
    expect(analysis.out).toMatch(/orders[\s\S]*wayne_52e1e7a8[\s\S]*Rows that belong to no tenant[\s\S]*IS NULL[\s\S]*Note: foreign tables/);
    const waited = await cli.run([
      "workspaces",
      "import-data",
      "myapp",
      "--source",
      url,
      "--shared",
      "copy",
      "--table",
      "audit=skip",
      "--tenant-id",
      "a=b=c",
      "--wait",
    ]);
    expect(waited).toMatchObject({ code: 0, out: expect.stringMatching(/done[\s\S]*10 of 10/) });
    const gets = cli.world.imports.requests.filter(({ verb }) => verb.startsWith("get")).map(({ verb }) => verb);
    expect([new Set(gets.slice(0, -1)), gets.at(-1)]).toEqual([new Set(["get none"]), "get all"]);
    expect(cli.world.imports.requests.find(({ verb }) => verb === "start")).toMatchObject({
      request: { connection, options: { sharedTables: "copy", tables: { audit: "skip" }, tenantIds: { "a=b": "c" } } },
    });
    expect((await cli.run(["workspaces", "import-status", "myapp", "--json"])).out).toContain('"status": "done"');
    for (const verb of ["cancel", "retry"]) {
      expect((await cli.run(["workspaces", `import-${verb}`, "myapp"])).code).toBe(0);
      expect(cli.world.imports.requests.at(-1)!.verb).toBe(`${verb} ${fakeImportId}`);
    }
  });

  it("says what is missing or misspelt before it asks", async () => {
    const cli = await makeCli();
    for (const [args, message] of [
      [[], /--source/],
      [["--source", url, "--table", "audit"], /--table must be of the form/],
      [["--source", url, "--table", "audit=drop"], /--table must be <table>=copy/],
      [["--source", url, "--shared", "maybe"], /copy, skip/],
    ] as const) {
      const { code, err } = await cli.run(["workspaces", "import-data", "myapp", ...args]);
      expect([code, err]).toEqual([2, expect.stringMatching(message)]);
    }
    expect(cli.world.imports.requests).toEqual([]);
  });
});
