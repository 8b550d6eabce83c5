/** Every driver, ORM and migration tool against one gateway: its guide's snippet, its own program, its migrations. Results go to docs/drivers.md. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { languages } from "./languages.ts";
import { type Command, driverChecks, type Language, type Migration, poolChecks, type Snippet } from "./support/language.ts";
import { freshDir, readReport, runIn, writeBlocks } from "./support/program.ts";
import { type RowResult, writeResult } from "./support/results.ts";
import { type DriverProject, documentTables, type PoolMode, startWorld, usualPoolMode, type World } from "./support/world.ts";

let world: World;
/** Drops idle clients after three seconds, which is what a pool's advice is tried against. */
let impatient: World | undefined;

beforeAll(async () => {
  world = await startWorld();
});

afterAll(async () => {
  await Promise.all([world?.dispose(), impatient?.dispose()]);
});

describe.for(languages)("$name", (language) => {
  const results: RowResult[] = [];
  let absent: string | undefined;

  beforeAll(async () => {
    absent = await language.prepare();
  }, 600_000);

  afterAll(async () => {
    if (usualPoolMode === "session") await writeResult({ language: language.name, guide: language.guide, rows: results });
  });

  describe.for(language.rows)("$name", ({ name, note, snippet, checks, sharing, tool, toolGateway, migration, pool, prepare, absent: never }) => {
    const result: RowResult = { name, passed: [], skipped: [], failed: [], ...(note === undefined ? {} : { note }) };
    let [planned, begun] = [0, 0];
    /** The row's own, with the document's tables and Zoe; made when the first test needs it. */
    let project: DriverProject | undefined;
    const useProject = async () => {
      project ??= await makeFilled(world, snippet?.workspace);
      return project;
    };

    beforeAll(async () => {
      const reason = absent ?? never ?? (await prepare?.());
      if (reason !== undefined) result.notRun = reason;
    }, 600_000);

    afterAll(async () => {
      if (begun === planned) results.push(result); // a part of a row would tell half of it
      await project?.dispose();
    });

    /** Notes what fails, for the table tells the truth of a failing run too. */
    const test = (title: string, work: () => Promise<void>) => {
      planned++;
      it(title, { timeout: 180_000 }, async ({ skip }) => {
        begun++;
        if (result.notRun !== undefined) skip(result.notRun);
        try {
          await work();
        } catch (error) {
          result.failed.push(`${title}: ${(error as Error).message.split("\n")[0]}`);
          throw error;
        }
      });
    };

    if (never) test("anything", async () => undefined);
    if (snippet) {
      test("snippet", async () => {
        if (snippet.empty) await inProject(await world.makeProject([]), (empty) => runSnippet(language, name, snippet, empty));
        else await runSnippet(language, name, snippet, await useProject());
        result.passed.push("snippet");
      });
    }
    if (checks) test("driver", async () => runChecks(language, checks, driverChecks, result, await useProject()));
    if (checks && sharing && usualPoolMode !== "transaction") {
      test("driver, in transaction mode", async () => {
        const shown: RowResult = { name, passed: [], skipped: [], failed: [] };
        await inProject(await makeFilled(world, [], "transaction"), (filled) => runChecks(language, checks, driverChecks, shown, filled));
        result.passed.push("transaction mode");
      });
    }
    if (tool && toolGateway) {
      test("client", async () => {
        const own = await startWorld(toolGateway());
        try {
          await inProject(await makeFilled(own), (filled) => runChecks(language, tool, [], result, filled));
        } finally {
          await own.dispose();
        }
      });
    } else if (tool) test("client", async () => runChecks(language, tool, [], result, await useProject()));
    if (migration) {
      test("migrations", async () => {
        const version = await inProject(await world.makeProject([]), (empty) => runMigration(language, name, migration, empty));
        if (version !== undefined) result.version = version;
        result.passed.push("two migrations captured and deployed");
      });
    }
    if (pool) {
      test("pool", async () => {
        impatient ??= await startWorld({ client_idle_timeout_s: 3 });
        await inProject(await makeFilled(impatient), (filled) => runPoolChecks(language, pool, result, filled));
      });
    }
  });
});

async function makeFilled(where: World, more: readonly string[] = [], poolMode?: PoolMode): Promise<DriverProject> {
  const project = await where.makeProject([...documentTables, ...more], poolMode);
  await project.query(project.wayne, "INSERT INTO accounts (name, email, balance) VALUES ('Zoe', 'zoe@test.com', 1234.56)");
  return project;
}

async function inProject<T>(project: DriverProject, work: (project: DriverProject) => Promise<T>): Promise<T> {
  try {
    return await work(project);
  } finally {
    await project.dispose();
  }
}

async function runSnippet(language: Language, name: string, snippet: Snippet, project: DriverProject): Promise<void> {
  const { files, commands, complete, proof } = snippet;
  const dir = await freshDir(language.workDir(), name);
  await writeBlocks(language.guide, files, dir, (text, file) => project.localize(complete?.(text, file) ?? text));
  let printed = "";
  for (const command of commands) {
    const done = await runIn(dir, command, { ...project.env, ...language.env?.() });
    expect(done.code, done.stdout + done.stderr).toBe(0);
    printed += done.stdout;
  }
  if (proof === "reads") {
    expect(printed).toContain("Zoe");
    expect(printed).toContain("1234.56");
  } else if (proof === "writes") {
    const rows = await project.query(project.wayne, "SELECT name, balance FROM accounts WHERE email = 'alice@test.com'");
    expect(rows).toEqual([{ name: "Alice", balance: "1000.00" }]);
  } else {
    const { body } = await project.api("GET", "/blueprints/myapp/versions");
    expect(JSON.stringify(body)).toContain(proof.captured);
  }
}

async function runChecks(language: Language, program: Command, wanted: readonly string[], result: RowResult, project: DriverProject): Promise<void> {
  const done = await runIn(language.workDir(), program, { ...project.env, ...language.env?.() });
  const { version, passed, skipped, failed } = readReport(done, wanted);
  if (version !== undefined) result.version = version;
  result.passed.push(...passed);
  result.skipped.push(...skipped);
  expect(failed, `${failed.join("; ")}\n${done.stdout}${done.stderr}`).toEqual([]);
}

/** The gateway's log must show that it dropped idle clients of this project: else nothing was tried. */
async function runPoolChecks(language: Language, program: Command, result: RowResult, project: DriverProject): Promise<void> {
  await runChecks(language, program, poolChecks, result, project);
  const dropped = impatient!.gateway
    .errors()
    .split("\n")
    .filter((line) => line.includes(`"user":"${project.workspace.user}"`) && line.includes("client_idle_timeout"));
  expect(dropped).not.toEqual([]);
}

const columnsOf = `SELECT table_name || '.' || column_name AS name FROM information_schema.columns
  WHERE table_schema = 'public' AND table_name IN ('accounts', 'transactions')`;

/** @returns the tool's version. */
async function runMigration(language: Language, name: string, migration: Migration, project: DriverProject): Promise<string | undefined> {
  const { command, files = [] } = migration;
  const dir = await freshDir(language.workDir(), `${name} migration`);
  await writeBlocks(language.guide, files, dir, (text) => project.localize(text));
  let version: string | undefined;
  let deployed = 0;
  for (const step of [1, 2]) {
    const done = await runIn(dir, [...command, String(step)], { ...project.env, ...language.env?.() });
    expect(done.code, done.stdout + done.stderr).toBe(0);
    version = readReport(done, []).version ?? version;
    const reached = await project.deploy();
    expect(reached, "each step makes at least one version").toBeGreaterThan(deployed);
    deployed = reached;
    for (const tenant of [project.wayne, project.globex]) {
      const columns = (await project.query(tenant, columnsOf)).map((row) => row.name);
      expect(columns).toEqual(expect.arrayContaining(["accounts.email", "accounts.balance", "transactions.amount"]));
      expect(columns.includes("accounts.plan")).toBe(step === 2);
    }
  }
  return version;
}
