/**
 * Runs the public test suite of a client through the gateway: `node test/drivers/suites/run.ts <suite> <path> <dsn> [<dsn of PostgreSQL itself>]`.
 * The path is that of the suite's repository, with what it needs installed; the DSN is that of a control-mode workspace with `allow_copy` on. Given
 * a second DSN, the suite is run there too, and what fails in both places is left out. Ends with 1 where a test fails that `skips.ts` does not list.
 */
import { resolve } from "node:path";
import { skips } from "./skips.ts";
import { type Outcome, suites } from "./suites.ts";

const [name = "", path = "", dsn = "", direct] = process.argv.slice(2);
const suite = suites[name];
if (!suite || !path || !dsn) {
  process.stderr.write(`usage: run.ts <${Object.keys(suites).join("|")}> <path> <dsn> [<dsn of PostgreSQL itself>]\n`);
  process.exit(2);
}

const through = await suite(resolve(path), new URL(dsn));
const alone = direct === undefined ? undefined : await suite(resolve(path), new URL(direct));
const reasons = skips[name] ?? {};
const reasonFor = (test: string) => Object.entries(reasons).find(([pattern]) => new RegExp(`^(?:${pattern})$`).test(test))?.[1];

const count = (outcome: Outcome) => [...through.values()].filter((found) => found === outcome).length;
const failed = [...through].filter(([, outcome]) => outcome === "fail").map(([test]) => test);
const alike = failed.filter((test) => alone !== undefined && alone.get(test) !== "pass");
const listed = failed.filter((test) => !alike.includes(test) && reasonFor(test) !== undefined);
const ours = failed.filter((test) => !alike.includes(test) && reasonFor(test) === undefined);

for (const test of listed) process.stdout.write(`listed  ${test}: ${reasonFor(test)}\n`);
for (const test of ours) process.stdout.write(`FAILS   ${test}\n`);
process.stdout.write(
  `${name}: ${count("pass")} passed, ${count("skip")} skipped by the suite, ${alike.length} fail on PostgreSQL itself too, ${listed.length} listed, ${ours.length} fail through the gateway\n`,
);
process.exitCode = ours.length === 0 && count("pass") > 0 ? 0 : 1;
