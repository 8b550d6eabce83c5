/** `tdb` as a single executable by `bun build --compile`: started where no sources and no packages are. */
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { findBinaries } from "../../gateway/embedded/binaries.ts";
import { makeApi } from "./support/api.ts";
import { parseTarget, psql } from "./support/clients.ts";
import { collect, type GatewayProcess, makeDataDir, removeDataDir, run } from "./support/gateway.ts";

const root = resolve(import.meta.dirname, "../..");

describe("tdb as a single executable", () => {
  let folder: string;
  let tdb: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "tdb-executable-"));
    tdb = join(folder, "tdb");
    const built = await run(join(root, "node_modules/.bin/bun"), ["build", "--compile", join(root, "bin/standalone.ts"), "--outfile", tdb]);
    expect([built.code, built.stderr]).toEqual([0, expect.any(String)]);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it("says its version and what it can do", async () => {
    const { version } = JSON.parse(await readFile(join(root, "package.json"), "utf8"));
    expect(await collect(spawn(tdb, ["version"], { cwd: folder }))).toMatchObject({ code: 0, stdout: `tdb v${version}\n` });
  });

  it("says what it needs where there is no PostgreSQL", async () => {
    const done = await collect(spawn(tdb, ["up", "--data-dir", join(folder, "none"), "--pg-port", "0", "--api-port", "0"], { cwd: folder }));
    expect(done).toMatchObject({ code: 1, stderr: expect.stringMatching(/no embedded PostgreSQL .*--database-url.*--embedded-bin-dir/) });
  });

  it("runs a gateway, with workers of itself: workspace, captured schema, tenant", async () => {
    const dataDir = await makeDataDir();
    const binDir = dirname((await findBinaries(undefined)).postgres);
    const off = ["mysql", "mongo", "redis"].flatMap((name) => [`--${name}-port`, "-1"]);
    const child = spawn(
      tdb,
      ["up", "--data-dir", dataDir, "--pg-port", "0", "--api-port", "0", ...off, "--workers", "2", "--embedded-bin-dir", binDir],
      {
        cwd: folder,
      },
    );
    const finished = collect(child);
    try {
      let said = "";
      await new Promise<void>((isUp, failed) => {
        child.stdout.on("data", (chunk) => {
          said += chunk;
          if (/^Tenantry is up \(bun [\s\S]*CA file.*\n/m.test(said)) isUp();
        });
        void finished.then(({ stderr }) => failed(new Error(stderr)));
      });
      const gateway = { credentials: JSON.parse(await readFile(join(dataDir, "credentials.json"), "utf8")) } as GatewayProcess;
      const { api_url: url, api_key: key, project_id: user, proxy_password: password } = gateway.credentials;
      const api = makeApi(url, key);
      await api("POST", "/workspaces", { name: "myapp", database: "PostgreSQL" });
      const made = await psql(gateway, { user, password, database: "myapp_workspace" }, "CREATE TABLE accounts (id int)");
      expect([made.stdout, made.stderr]).toEqual(["CREATE TABLE\n", ""]);
      const { body } = await api("POST", "/tenants", { tenant_id: "wayne", databases: [{ blueprint: "myapp" }] });
      const seen = await psql(gateway, parseTarget(body.databases[0].connection_string), "SELECT count(*) FROM accounts");
      expect([seen.stdout, seen.stderr]).toEqual(["0\n", ""]);
      expect(await (await fetch(`${url}/metrics`)).text()).toMatch(/^tenantry_workers 2$/m);
      expect((await fetch(`${url}/docs`)).status).toBe(200);
      expect((await fetch(`${url}/docs/swagger-ui.css`)).status).toBe(404);
    } finally {
      child.kill("SIGTERM");
      expect((await finished).code).toBe(0);
      await removeDataDir(dataDir);
    }
  });
});
