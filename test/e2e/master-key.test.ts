/** The master key rotated by its command while clients work: sessions go on, logins work, the old key opens nothing any more. */
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connect } from "./support/clients.ts";
import { type Fleet, makeFleet } from "./support/fleet.ts";
import { startGateway, tdb } from "./support/gateway.ts";
import { openNativeServer } from "./support/native.ts";
import { until } from "./support/until.ts";

describe("master key", () => {
  let fleet: Fleet;
  const keyFile = () => join(fleet.gateway.dataDir, "master.key");
  const lines = async () => (await readFile(keyFile(), "utf8")).trim().split("\n");
  const said = (from: number) => fleet.gateway.errors().slice(from);
  beforeAll(async () => {
    fleet = await makeFleet("node");
  });
  afterAll(() => fleet.dispose());

  async function rotate(): Promise<void> {
    const from = fleet.gateway.errors().length;
    const { code, stdout, stderr } = await tdb("node", ["master-key", "rotate", "--data-dir", fleet.gateway.dataDir]);
    expect([code, stderr]).toEqual([0, ""]);
    expect(stdout).toContain(`Process ${fleet.gateway.pid} was told.`);
    await until(
      () => said(from).includes("master key rotated"),
      () => said(from),
    );
    await until(async () => !(await readFile(keyFile(), "utf8")).includes("previous"));
  }

  it("rotated under load: open sessions go on, new ones come in, keys and passwords stay, and what the old key gave is refused", async () => {
    const old = openNativeServer(fleet.gateway);
    const wayne = await old.find(fleet.gateway.credentials.project_id, "myapp__wayne");
    const [before] = await lines();
    const open = await connect(fleet.gateway, fleet.tenant("wayne"));
    let isOver = false;
    const failures: string[] = [];
    let logins = 0;
    const working = (async () => {
      while (!isOver) {
        try {
          const client = await connect(fleet.gateway, fleet.tenant(logins % 2 ? "wayne" : "globex"));
          await client.query("SELECT 1");
          await client.end();
          logins++;
        } catch (error) {
          failures.push(String(error));
        }
      }
    })();
    await rotate();
    const reached = logins;
    await until(() => logins > reached + 5);
    isOver = true;
    await working;
    expect(failures).toEqual([]);
    expect((await open.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
    await open.end();

    const [after, lookup] = await lines();
    expect(after).toMatch(/^[0-9a-f]{64}$/);
    expect(after).not.toBe(before);
    expect(lookup).toBe(`lookup ${before}`);
    expect((await stat(keyFile())).mode & 0o777).toBe(0o600);
    for (const role of ["owner", "admin", "write", "read"] as const) await expect(old.as(wayne, role)).rejects.toMatchObject({ code: "28P01" });
    await expect(old.asSuperuser("template1")).rejects.toMatchObject({ code: "28P01" });
    await old.close();
    const fresh = openNativeServer(fleet.gateway);
    await (await fresh.as(wayne, "owner")).end();
    await fresh.close();
    expect((await fleet.api("GET", "/tenants")).status).toBe(200);
    await fleet.addTenant("made_after");
    await (await connect(fleet.gateway, fleet.tenant("made_after"))).end();
  });

  it("rotated again, and restarted: everything still opens", async () => {
    const [, lookup] = await lines();
    await rotate();
    expect((await lines())[1]).toBe(lookup);
    await fleet.gateway.stop();
    const again = await startGateway({ runtime: "node", dataDir: fleet.gateway.dataDir });
    try {
      await (await connect(again, fleet.tenant("wayne"))).end();
    } finally {
      await again.stop();
    }
  });

  it("rotated while the gateway is down: done at the next start; a key that was rotated away is refused", async () => {
    const { dataDir } = fleet.gateway;
    const [old, lookup] = await lines();
    const rotated = await tdb("node", ["master-key", "rotate", "--data-dir", dataDir]);
    expect(rotated.stdout).toContain("No gateway with an embedded server runs here");
    const twice = await tdb("node", ["master-key", "rotate", "--data-dir", dataDir]);
    expect([twice.code, twice.stderr]).toEqual([1, expect.stringContaining("the rotation before is not finished")]);
    const again = await startGateway({ runtime: "node", dataDir });
    await until(
      () => again.errors().includes("master key rotated"),
      () => again.errors(),
    );
    await (await connect(again, fleet.tenant("globex"))).end();
    await again.stop();
    const [now] = await lines();
    await writeFile(keyFile(), `${old}\n${lookup}\n`);
    await expect(startGateway({ runtime: "node", dataDir })).rejects.toThrow(/made with another master key/);
    await writeFile(keyFile(), `${now}\n${lookup}\n`);
    const last = await startGateway({ runtime: "node", dataDir, env: { TDB_MASTER_KEY: `${now},${lookup}` } });
    await (await connect(last, fleet.tenant("globex"))).end();
    await last.stop();
  });

  it("a file that is none is named", async () => {
    const { code, stderr } = await tdb("node", ["master-key", "rotate", "--master-key-file", "/nowhere/key"]);
    expect([code, stderr]).toEqual([1, 'tdb master-key: --master-key-file: the master key file "/nowhere/key" does not exist\n']);
    expect((await tdb("node", ["master-key"])).code).toBe(2);
    expect((await tdb("node", ["master-key", "--help"])).stdout).toContain("Usage: tdb master-key rotate");
  });
});
