/** The command line of `tdb up`. */
import { describe, expect, it } from "vitest";
import { ConfigError } from "../../../core/config.ts";
import { parseUpArguments } from "../../../gateway/config/arguments.ts";

function faultsOf(...argv: string[]): string[] {
  try {
    parseUpArguments(argv);
  } catch (error) {
    if (error instanceof ConfigError) return error.issues.map((issue) => `${issue.source}: ${issue.message}`);
    throw error;
  }
  return [];
}

describe("up arguments", () => {
  it("reads both spellings, negative numbers, and lets the last of a repeated flag count", () => {
    const { flags } = parseUpArguments(["--pg-port", "5433", "--api-port=0", "--redis-port", "-1", "--pg-port=5434", "--redis-url=redis://h/?a=b"]);
    expect(flags).toEqual({ "pg-port": "5434", "api-port": "0", "redis-port": "-1", "redis-url": "redis://h/?a=b" });
  });

  it("reads switches on, off and with a value, without eating the next argument", () => {
    expect(parseUpArguments(["--signup-enabled", "--host", "::"]).flags).toEqual({ "signup-enabled": "true", host: "::" });
    expect(parseUpArguments(["--no-signup-enabled"]).flags).toEqual({ "signup-enabled": "false" });
    expect(parseUpArguments(["--signup-enabled=off"]).flags).toEqual({ "signup-enabled": "off" });
  });

  it("knows --check, --help and -h", () => {
    expect(parseUpArguments(["--check"])).toEqual({ flags: {}, check: true, help: false });
    expect(parseUpArguments(["-h"]).help).toBe(true);
    expect(parseUpArguments(["--help"]).help).toBe(true);
  });

  it("names every unknown flag, missing value and stray argument at once", () => {
    expect(faultsOf("--pg-prot", "5433", "extra", "--data-dir", "--check", "--host")).toEqual([
      '--pg-prot: unknown flag; did you mean "--pg-port"?',
      "extra: unexpected argument; settings are given as flags",
      "--data-dir: needs a value",
      "--host: needs a value",
    ]);
    expect(faultsOf("--chekc")).toEqual(['--chekc: unknown flag; did you mean "--check"?']);
    expect(faultsOf("--no-host")).toHaveLength(1);
    expect(faultsOf("-x", "--")).toHaveLength(2);
  });

  it("does not show the value of a misspelt flag, which may be a secret", () => {
    expect(faultsOf("--redis-ulr=redis://:hunter2@h", "--database-ulr", "postgres://u:hunter2@h/d").join()).not.toContain("hunter2");
  });
});
