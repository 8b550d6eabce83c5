/** Benchmark: reading what pgbench and the kernel say, options, and the tables written into the documentation. */
import { describe, expect, it } from "vitest";
import { readLatencies } from "../../bench/measure/latency.ts";
import { medianOfLog } from "../../bench/measure/victim.ts";
import { parseOptions } from "../../bench/options.ts";
import { renderSvg } from "../../bench/plot.ts";
import { insertBetweenMarks, renderAsks, renderSections, renderTable } from "../../bench/report.ts";
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

describe("pgbench's log of transactions", () => {
  it("gives each transaction's latency in microseconds", () => {
    expect(readLatencies("0 1 312 0 1700000000 123456\n0 2 298 0 1700000000 123768\n")).toEqual([312, 298]);
  });
});

describe("a plot", () => {
  const plot = {
    file: "rates",
    title: "Rates <of> PgBouncer's",
    unit: "×",
    groups: [
      {
        name: "simple, 16",
        bars: [
          { name: "node", value: 0.5 },
          { name: "bun", value: 2 },
        ],
      },
    ],
  };

  it("draws bars in proportion, with the line at 1 between them, and escapes what it says", () => {
    const svg = renderSvg(plot);
    const widths = [...svg.matchAll(/width="([\d.]+)" height="12"/g)].map((match) => Number(match[1]));
    expect(widths).toEqual([140, 560]);
    expect(svg).toContain('x1="410"');
    expect(svg).toContain("Rates &lt;of&gt; PgBouncer's");
  });

  it("stands under its section's table", () => {
    const section = { name: "a", title: "A", columns: ["x"], rows: [["1"]], asks: [], samples: [], plots: [plot] };
    expect(renderSections([section])).toContain("\n\n![Rates <of> PgBouncer's](performance/rates.svg)");
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

  it("take the number of rounds, the way of pooling and another PgBouncer", () => {
    expect(parseOptions([], known)).toMatchObject({ rounds: undefined, poolMode: "session", pgbouncerBin: undefined, docsFrom: [] });
    expect(parseOptions(["--docs-from", "a.json", "--docs-from", "b.json", "--pgbouncer-tcp"], known)).toMatchObject({
      docsFrom: ["a.json", "b.json"],
      pgbouncerTcp: true,
    });
    expect(parseOptions(["--rounds", "2", "--pool-mode", "transaction", "--pgbouncer-bin", "/opt/pgbouncer"], known)).toMatchObject({
      rounds: 2,
      poolMode: "transaction",
      pgbouncerBin: "/opt/pgbouncer",
    });
  });

  it.each([
    [["--only", "idel"]],
    [["--runtimes", "python"]],
    [["--fast"]],
    [["--crowd", "10,x,1"]],
    [["--crowd", "10,20"]],
    [["--crowd", "0,1,1"]],
    [["--rounds", "0"]],
    [["--pool-mode", "statement"]],
  ])("refuse %j", (argv) => {
    expect(() => parseOptions(argv, known)).toThrow();
  });
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
