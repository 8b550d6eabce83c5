/** A fault nobody caught ends the process in order, on each runtime. */
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { run } from "../e2e/support/gateway.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));
const script = fileURLToPath(new URL("fault-script.ts", import.meta.url));

const runtimes = [
  ["node", []],
  ["deno", ["run", "-A"]],
  ["bun", []],
] as const;

describe.each(runtimes)("a fault nobody caught, on %s", (runtime, before) => {
  it.each([
    ["exception", "works", "stopping\nstopped\n"],
    ["rejection", "works", "stopping\nstopped\n"],
    ["exception", "hangs", "stopping\n"],
    ["exception", "fails", "stopping\n"],
  ])("%s, and stopping %s: told in the log, stopped once, exit code 1", async (fault, stopping, output) => {
    const { code, stdout, stderr } = await run(`${root}node_modules/.bin/${runtime}`, [...before, script, fault, stopping]);
    expect([code, stdout]).toEqual([1, output]);
    const lines = stderr
      .split("\n")
      .filter(Boolean)
      .map((line) => JSON.parse(line));
    expect(lines[0]).toMatchObject({
      level: "error",
      event: "fault nobody caught, stopping",
      error: expect.stringMatching(/Error: boom\n.*fault-script/s),
    });
    const expected = stopping === "fails" ? "cannot stop" : "a second one";
    expect(lines.some(({ error }) => error.includes(expected))).toBe(true);
  });
});
