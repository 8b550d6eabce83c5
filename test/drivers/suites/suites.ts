/** How each public suite is started, and how its outcome is read. */

import { spawn } from "node:child_process";
import { cp, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { collect, type Finished } from "../../e2e/support/gateway.ts";

export type Outcome = "pass" | "fail" | "skip";
export type Suite = (path: string, dsn: URL) => Promise<ReadonlyMap<string, Outcome>>;

/** Libpq's variables, which most clients read. */
function environment(dsn: URL): Record<string, string> {
  const { hostname, port, username, password, pathname } = dsn;
  return {
    PGHOST: hostname,
    PGPORT: port,
    PGUSER: username,
    PGPASSWORD: decodeURIComponent(password),
    PGDATABASE: pathname.slice(1),
  };
}

function runIn(cwd: string, env: Readonly<Record<string, string>>, command: string, ...args: string[]): Promise<Finished> {
  return collect(spawn(command, args, { cwd, env: { ...process.env, ...env }, stdio: ["pipe", "pipe", "pipe"] }));
}

/** @throws Error when it said nothing, with what it printed instead. */
function atLeastOne(outcomes: Map<string, Outcome>, done: Finished): Map<string, Outcome> {
  if (outcomes.size === 0) throw new Error(`the suite reported no test\n${done.stdout.slice(-2000)}${done.stderr.slice(-2000)}`);
  return outcomes;
}

/** pgx: its packages that talk to a server. A subtest is a test of its own, and so fails with its parent. */
const pgx: Suite = async (path, dsn) => {
  const packages = [".", "./pgconn", "./pgtype/...", "./pgxpool", "./stdlib"];
  const done = await runIn(path, { PGX_TEST_DATABASE: dsn.href }, "go", "test", "-json", "-count=1", "-p=1", "-timeout=20m", ...packages);
  const outcomes = new Map<string, Outcome>();
  for (const line of done.stdout.split("\n").filter((text) => text.startsWith("{"))) {
    const { Action, Package, Test } = JSON.parse(line) as { Action: string; Package: string; Test?: string };
    if (Test === undefined || !["pass", "fail", "skip"].includes(Action)) continue;
    outcomes.set(`${Package.replace(/^.*\/pgx\/v5\/?/, "")}:${Test}`, Action as Outcome);
  }
  return atLeastOne(outcomes, done);
};

/** pytest's own report: a line for each test. */
async function pytest(path: string, env: Readonly<Record<string, string>>, ...args: string[]): Promise<Map<string, Outcome>> {
  const done = await runIn(path, env, "python", "-m", "pytest", "-q", "-rA", "--no-header", "--tb=no", ...args);
  const outcomes = new Map<string, Outcome>();
  for (const [, word = "", test = ""] of done.stdout.matchAll(/^(PASSED|FAILED|ERROR|XFAIL|XPASS|SKIPPED) (\S+)/gm)) {
    const outcome = word === "PASSED" || word === "XPASS" ? "pass" : word === "FAILED" || word === "ERROR" ? "fail" : "skip";
    outcomes.set(test, outcome);
  }
  return atLeastOne(outcomes, done);
}

/** psycopg 3, written in Python alone. Left out: what measures time, and what needs programs beside the server. */
const psycopg: Suite = (path, dsn) => {
  const marks = "not slow and not timing and not flakey and not proxy and not subprocess and not mypy";
  return pytest(path, { PSYCOPG_IMPL: "python" }, "tests", "-m", marks, `--test-dsn=${dsn.href}`);
};

/** asyncpg, in the environment's own build of it: its tests alone are taken from the path. */
const asyncpg: Suite = async (path, dsn) => {
  const dir = await mkdtemp(join(tmpdir(), "tdb-suite-"));
  try {
    await cp(join(path, "tests"), join(dir, "tests"), { recursive: true });
    // Some name the database that every server has, and the gateway has not.
    for (const file of (await readdir(join(dir, "tests"))).filter((name) => name.endsWith(".py"))) {
      const text = await readFile(join(dir, "tests", file), "utf8");
      await writeFile(join(dir, "tests", file), text.replaceAll("database='postgres'", `database='${dsn.pathname.slice(1)}'`));
    }
    return await pytest(dir, { ...environment(dsn), PGSSLMODE: "prefer" }, "tests");
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
};

/** node-postgres: packages/pg with its development packages beside it; each file is a test. */
const nodePostgres: Suite = async (path, dsn) => {
  const outcomes = new Map<string, Outcome>();
  const files = (await readdir(join(path, "test/integration"), { recursive: true })).filter((file) => file.endsWith("-tests.js")).sort();
  let done: Finished = { code: 0, stdout: "", stderr: `no tests below ${path}` };
  for (const file of files) {
    done = await runIn(path, environment(dsn), "timeout", "60", "node", join("test/integration", file));
    outcomes.set(file, done.code === 0 ? "pass" : "fail");
  }
  return atLeastOne(outcomes, done);
};

/** Reports each test where the suite's own stops at the first that fails. */
const postgresJsHarness = `
import util from 'util'
let last = Promise.resolve()
let waiting = 0
const report = (outcome, name) => console.log(JSON.stringify({ outcome, name }))
export const nt = (name) => report('skip', name)
export const ot = (...args) => t(...args)
export const t = (name, options, fn) => {
  if (typeof options === 'function') [options, fn] = [{}, options]
  waiting++
  last = last.then(async () => {
    let timer
    const late = new Promise((_, no) => { timer = setTimeout(() => no(new Error('timed out')), (options.timeout || t.timeout) * 1000) })
    try {
      const [expected, got] = await Promise.all(await Promise.race([fn(), late]))
      report(expected === got ? 'pass' : 'fail', name)
      if (expected !== got) console.error(name + ': ' + util.inspect(expected) + ' != ' + util.inspect(got))
    } catch (error) {
      report('fail', name)
      console.error(name + ': ' + util.inspect(error))
    }
    clearTimeout(timer)
    await globalThis.cleanUp()
    if (--waiting === 0) process.exit()
  })
}
t.timeout = 10
process.on('unhandledRejection', (error) => console.error('unhandled: ' + util.inspect(error)))
process.on('uncaughtException', (error) => console.error('uncaught: ' + util.inspect(error)))
`;

/** postgres.js: a copy in which the database that its set-up would make is the DSN's. */
const postgresJs: Suite = async (path, dsn) => {
  const dir = await mkdtemp(join(tmpdir(), "tdb-suite-"));
  try {
    for (const folder of ["src", "tests", "package.json"]) await cp(join(path, folder), join(dir, folder), { recursive: true });
    await writeFile(join(dir, "tests/bootstrap.js"), "export function exec() {}\n");
    await writeFile(join(dir, "tests/test.js"), postgresJsHarness);
    const tests = (await readFile(join(dir, "tests/index.js"), "utf8"))
      .replace(/^const login = \{\n.*\n\}/m, "const login = { user: process.env.PGUSER, pass: process.env.PGPASSWORD }")
      .replace("db: 'postgres_js_test'", "db: process.env.PGDATABASE")
      .replace("connect_timeout: 1,", "connect_timeout: 10,")
      // A test that fails leaves its table behind, on which all others would fail.
      .replace(
        /^const sql = postgres\(options\)$/m,
        "$&\nglobalThis.cleanUp = () => sql.unsafe('drop table if exists test cascade').catch(() => {})",
      );
    await writeFile(join(dir, "tests/index.js"), tests);
    const done = await runIn(dir, environment(dsn), "timeout", "600", "node", "tests/index.js");
    const outcomes = new Map<string, Outcome>();
    for (const line of done.stdout.split("\n").filter((text) => text.startsWith('{"outcome"'))) {
      const { outcome, name } = JSON.parse(line) as { outcome: Outcome; name: string };
      outcomes.set(name, outcome);
    }
    process.stderr.write(done.stderr);
    return atLeastOne(outcomes, done);
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
};

/** libpq_pipeline: the path is that of the program, built with PostgreSQL. */
const libpqPipeline: Suite = async (path, dsn) => {
  const outcomes = new Map<string, Outcome>();
  const listed = await runIn(".", {}, path, "tests");
  for (const test of listed.stdout.split("\n").filter((name) => name !== "")) {
    const done = await runIn(".", {}, "timeout", "60", path, test, dsn.href);
    outcomes.set(test, done.code === 0 ? "pass" : "fail");
  }
  return atLeastOne(outcomes, listed);
};

export const suites: Readonly<Record<string, Suite>> = {
  pgx,
  psycopg,
  asyncpg,
  "node-postgres": nodePostgres,
  "postgres.js": postgresJs,
  libpq_pipeline: libpqPipeline,
};
