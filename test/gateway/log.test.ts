/** The process's log: both formats, levels, redaction, hostile values. */
import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { createLog, type LogOptions } from "../../gateway/log.ts";

function record(options: Partial<LogOptions> = {}) {
  const lines: string[] = [];
  const log = createLog({ level: "info", format: "json", ...options, write: (line) => lines.push(line) });
  return { log, lines };
}

describe("log", () => {
  it("writes one JSON object a line: level, time, event, fields", () => {
    const { log, lines } = record();
    log.write("warn", "login refused", { user: "tdb_2abf90d3", port: 5432, tls: true, database: null, missing: undefined });
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(/^\{.*\}\n$/);
    const { time, ...rest } = JSON.parse(lines[0]!);
    expect(rest).toEqual({ level: "warn", event: "login refused", user: "tdb_2abf90d3", port: 5432, tls: true, database: null });
    expect(new Date(time).toISOString()).toBe(time);
  });

  it("writes text for people, values that are not plain in quotes", () => {
    const { log, lines } = record({ format: "pretty" });
    log.write("info", "listening", { host: "127.0.0.1", port: 5432, note: 'a "b"\n\u001b[31m\u009b\u202e' });
    expect(lines[0]).toMatch(/^\S+Z INFO {2}listening host=127\.0\.0\.1 port=5432 note="a \\"b\\"\\n\\u001b\[31m\\u009b\\u202e"\n$/);
  });

  it.each(["json", "pretty"] as const)("removes secrets from fields as %s", (format) => {
    const { log, lines } = record({ format });
    const secrets = [`tenantsdb_sk_${"3c".repeat(32)}`, `tdb_${"9f".repeat(8)}`, "hunter2"];
    log.write("error", "dial failed", { a: `key ${secrets[0]}`, b: secrets[1], c: `postgres://u:${secrets[2]}@h/d` });
    for (const secret of secrets) expect(lines.join()).not.toContain(secret);
  });

  it("keeps quiet below its level, and changes level while running", () => {
    const { log, lines } = record({ level: "warn" });
    log.write("info", "one");
    log.setLevel("debug");
    log.write("debug", "two");
    log.setLevel("error");
    log.write("warn", "three");
    expect(lines.map((line) => JSON.parse(line).event)).toEqual(["two"]);
  });

  it.each([
    ["node", []],
    ["deno", ["run", "-A"]],
    ["bun", []],
  ])("writes whole lines to standard error on %s", async (runtime, before) => {
    const root = fileURLToPath(new URL("../../", import.meta.url));
    const script = fileURLToPath(new URL("log-script.ts", import.meta.url));
    const { stdout, stderr } = await promisify(execFile)(`${root}node_modules/.bin/${runtime}`, [...before, script], { cwd: root });
    const events = stderr.split("\n").filter(Boolean);
    expect(events.map((line) => JSON.parse(line).number)).toEqual(Array.from({ length: 200 }, (_, number) => number));
    expect(stdout).toBe("");
  });
});
