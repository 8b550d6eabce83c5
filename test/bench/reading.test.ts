/** Benchmark: reading what pgbench and the kernel say, options, and the tables written into the documentation. */
import { describe, expect, it } from "vitest";
import { medianOfLog } from "../../bench/measure/victim.ts";
import { parseOptions } from "../../bench/options.ts";
import { insertBetweenMarks, renderAsks, renderTable } from "../../bench/report.ts";
import { ask } from "../../bench/section.ts";
import { parsePgbench } from "../../bench/stage/pgbench.ts";
import { parseResident, parseStat } from "../../bench/stage/usage.ts";

const pgbenchText = `pgbench (15.18, server 18.4)
transaction type: <builtin: select only>
scaling factor: 1
query mode: simple
number of clients: 16
number of threads: 2
duration: 2 s
number of transactions actually processed: 58214
number of failed transactions: 0 (0.000%)
latency average = 0.550 ms
initial connection time = 21.934 ms
tps = 29104.816330 (without initial connection time)
`;

describe("pgbench's answer", () => {
  it("gives transactions and rate", () => {
    expect(parsePgbench(pgbenchText)).toEqual({ transactions: 58214, perSecond: 29104.81633 });
  });

  it("gives the rate with connections where each transaction makes one", () => {
    const text = pgbenchText.replace(/^initial.*\n/m, "average connection time = 2.1 ms\n").replace("without initial", "including re");
    expect(parsePgbench(text).perSecond).toBe(29104.81633);
  });

  it.each([
    ["is not pgbench's", "command not found"],
    ["ran nothing", pgbenchText.replace("58214", "0")],
    ["has failures", pgbenchText.replace("transactions: 0 (", "transactions: 3 (")],
  ])("is refused when it %s", (_, text) => {
    expect(() => parsePgbench(text)).toThrow();
  });
});

describe("the kernel's counts", () => {
  it("are read behind a command name with spaces and parentheses", () => {
    const fields = ["S", "42", ...Array.from({ length: 9 }, () => "0"), "150", "50", "7", "3", "20"];
    expect(parseStat(`4711 (a (b) c) ${fields.join(" ")}\n`)).toEqual({ parent: 42, cpuMs: 2100 });
  });

  it("are resident memory in bytes, none for a process that is gone", () => {
    expect(parseResident("VmPeak:\t  100 kB\nVmRSS:\t    2048 kB\nThreads:\t3\n")).toBe(2 * 1024 * 1024);
    expect(parseResident("")).toBe(0);
  });
});

describe("pgbench's log", () => {
  it("gives the median of the times in its third column", () => {
    expect(medianOfLog("0 1 3000 0 1700000000 1\n1 1 1000 0 1700000000 2\n0 2 2000 0 1700000001 3\n")).toBe(2);
  });
});

describe("options", () => {
  const known = ["throughput", "idle"];

  it("measure everything under every runtime unless told otherwise", () => {
    expect(parseOptions([], known)).toMatchObject({ quick: false, only: [], runtimes: ["node", "bun", "deno"] });
    expect(parseOptions(["--only", "idle", "--runtimes", "bun,node", "--quick"], known)).toMatchObject({
      quick: true,
      only: ["idle"],
      runtimes: ["bun", "node"],
    });
  });

  it("take the size of a crowd", () => {
    expect(parseOptions(["--crowd", "10,200,5"], known).crowd).toEqual({ tenants: 10, clients: 200, backends: 5 });
    expect(parseOptions([], known).crowd).toBeUndefined();
  });

  it.each([[["--only", "idel"]], [["--runtimes", "python"]], [["--fast"]], [["--crowd", "10,x,1"]], [["--crowd", "10,20"]], [["--crowd", "0,1,1"]]])(
    "refuse %j",
    (argv) => {
      expect(() => parseOptions(argv, known)).toThrow();
    },
  );
});

describe("report", () => {
  it("pads its tables", () => {
    expect(renderTable(["name", "n"], [["bun", "12345"]])).toBe("| name | n     |\n| ---- | ----- |\n| bun  | 12345 |");
  });

  it("tells met from missed, the limit itself included", () => {
    const show = (value: number) => value.toFixed(2);
    const asks = [ask("rate", 0.9, ">=", 0.9, show), ask("rate", 0.89, ">=", 0.9, show), ask("memory", 32, "<", 32, show)];
    expect(asks.map(({ met }) => met)).toEqual([true, false, false]);
    const section = { name: "x", title: "x", columns: [], rows: [], asks, samples: undefined };
    expect(renderAsks([section]).match(/\*\*missed\*\*/g)).toHaveLength(2);
    expect(renderAsks([{ ...section, asks: [] }])).toBe("");
  });

  it("replaces what stands between the marks and nothing else", () => {
    const page = "before\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nafter\n";
    const once = insertBetweenMarks(page, "new");
    expect(once).toBe("before\n<!-- bench:begin -->\n\nnew\n\n<!-- bench:end -->\nafter\n");
    expect(insertBetweenMarks(once, "new")).toBe(once);
    expect(() => insertBetweenMarks("no marks", "new")).toThrow();
  });
});
