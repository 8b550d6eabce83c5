/** Loading: which file is read, what is said of a bad one, reload. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { loadConfig, reloadConfig } from "../../../gateway/config/load.ts";

describe("config: loading", () => {
  let directory = "";

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "tenantry-config-"));
  });

  afterEach(async () => {
    await rm(directory, { recursive: true });
  });

  const write = (name: string, text: string) => writeFile(join(directory, name), text);

  it("goes on without a file when none is named", async () => {
    const loaded = await loadConfig({ env: { TDB_PG_PORTS: "1" }, flags: { "pg-port": "5433" }, directory });
    expect(loaded.file).toBeUndefined();
    expect(loaded.config.pg_port).toBe(5433);
    expect(loaded.warnings.map((warning) => warning.source)).toEqual(["TDB_PG_PORTS"]);
  });

  it("reads ./tenantry.json when it exists, with a byte order mark too", async () => {
    await write("tenantry.json", '\uFEFF{ "$schema": "x", "pg_port": 6001 }');
    const loaded = await loadConfig({ env: {}, flags: {}, directory });
    expect([loaded.file, loaded.config.pg_port]).toEqual([join(directory, "tenantry.json"), 6001]);
  });

  it("reads the named file instead, the flag's before the variable's", async () => {
    await write("tenantry.json", '{ "pg_port": 6001 }');
    await write("env.json", '{ "pg_port": 6002 }');
    await write("flag.json", '{ "pg_port": 6003 }');
    const fromEnv = await loadConfig({ env: { TDB_CONFIG: "env.json" }, flags: {}, directory });
    const fromFlag = await loadConfig({ env: { TDB_CONFIG: "env.json" }, flags: { config: "flag.json" }, directory });
    expect([fromEnv.config.pg_port, fromFlag.config.pg_port, fromFlag.config.config]).toEqual([6002, 6003, "flag.json"]);
  });

  it("refuses a named file that does not exist or cannot be read", async () => {
    await expect(loadConfig({ env: {}, flags: { config: "no.json" }, directory })).rejects.toThrow('--config: the file "no.json" does not exist');
    await expect(loadConfig({ env: { TDB_CONFIG: "." }, flags: {}, directory })).rejects.toThrow('TDB_CONFIG: the file "." cannot be read (EISDIR)');
  });

  it("names line and column of malformed JSON", async () => {
    await write("tenantry.json", '{\n  "pg_port": 1,\n}\n');
    await expect(loadConfig({ env: {}, flags: {}, directory })).rejects.toThrow('tenantry.json: line 2, column 15: "," before "}": remove it');
  });

  it("names the file before each of its bad values", async () => {
    await write("gw.json", '{ "pg_port": "x", "ip": { "conect_rate": 1 } }');
    await expect(loadConfig({ env: {}, flags: { config: "gw.json" }, directory })).rejects.toMatchObject({
      issues: [{ source: "gw.json: ip.conect_rate" }, { source: "gw.json: pg_port" }],
    });
  });

  it("reloads: new values in force, the rest named, a bad file refused whole", async () => {
    const options = { env: {}, flags: {}, directory };
    await write("tenantry.json", '{ "drain_s": 5 }');
    const { config } = await loadConfig(options);
    await write("tenantry.json", '{ "drain_s": 6, "host": "::" }');
    const reloaded = await reloadConfig(config, options);
    expect(reloaded).toMatchObject({ changed: ["drain_s"], needRestart: ["host"] });
    expect([reloaded.config.drain_s, reloaded.config.host]).toEqual([6, "127.0.0.1"]);
    await write("tenantry.json", '{ "drain_s": 6, "host": 7 }');
    await expect(reloadConfig(reloaded.config, options)).rejects.toThrow("tenantry.json: host: 7 is not a text that is not empty");
  });
});
