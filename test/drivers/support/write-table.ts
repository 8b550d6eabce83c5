/** docs/drivers.md, from what the drivers showed last. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { languages } from "../languages.ts";
import type { Language } from "./language.ts";
import { type LanguageResult, type RowResult, resultsDir } from "./results.ts";

const target = new URL("../../../docs/drivers.md", import.meta.url);

const introduction = `# Drivers, ORMs and migration tools

Each of these is run against a gateway by \`test/drivers/drivers.test.ts\`: the snippet of its guide, as it stands there, with host, port and
credentials changed and nothing else; a deeper program; a migration in two steps, captured in the workspace and deployed to two tenants.
\`npm run drivers\` runs them all and makes this file of what they showed; \`npm run drivers -- -t Python\` runs one language.
A driver that was not run keeps its row here.

What the words mean: **snippet**, the guide's own code; **types**, numbers, text, times, JSON, arrays, bytes and null there and back;
**prepared statements**, used again and again; **transactions**, commit, rollback, savepoint, the failed state;
**pool**, many at once on few connections; **cancellation**, a running query ended from outside or by its own timeout, the connection usable after it;
**errors**, SQLSTATE and message as the driver's own exception; **LISTEN**, a notification from another session; **reconnect**, a
session ended with \`57P01\` and the next request served; **checked before use**, **recycled in time**, **long request**, a client pool under
a gateway that drops idle clients after three seconds;
**transaction mode**, the deeper program again with a backend for each transaction ([pooling.md](pooling.md)).

In transaction mode all rows show the same: \`TDB_DRIVERS_POOL_MODE=transaction npm run drivers\` runs them so, and leaves this file alone. What is different
there, and expected by the programs:

| what | driver | in transaction mode |
| --- | --- | --- |
| the name of a prepared statement in \`pg_prepared_statements\` | pg, pg-promise, Drizzle | the gateway's, \`tdb_…\`; the driver goes on using its own |
| \`pg_cancel_backend\` with the process id of the login | Knex: \`.timeout(ms, { cancel: true })\` | finds no process, and Knex waits for the statement's end: set \`query_timeout_ms\` or \`statement_timeout\` |
| the process id of the login as the backend's | psycopg2 \`info.backend_pid\`, asyncpg \`get_server_pid()\` | another number; \`SELECT pg_backend_pid()\` tells the backend of this transaction |
| a session whose backend is ended from outside | all | told \`57P01\` where it keeps the backend; else it does not notice, and goes on with another |
`;

async function readResult(language: string): Promise<LanguageResult | undefined> {
  try {
    return JSON.parse(await readFile(join(resultsDir, `${language}.json`), "utf8")) as LanguageResult;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** A row that was not run here keeps its line of the file. */
function describeLanguage({ name, guide, rows }: Language, result: LanguageResult | undefined, document: string): string {
  const section = document.split(/^(?=## )/m).find((each) => each.startsWith(`## ${name}\n`)) ?? "";
  const lines = rows.flatMap((row) => {
    const shown = result?.rows.find((each) => each.name === row.name);
    const kept = section.split("\n").find((line) => line.startsWith(`| ${cell(row.name)} |`));
    if (shown && (shown.notRun === undefined || kept === undefined)) return [describeRow(shown)];
    return kept === undefined ? [] : [kept];
  });
  const head = ["| driver | version | result | what was shown |", "| --- | --- | --- | --- |"];
  return [`## ${name}\n`, `Guide: [connect/${guide}.md](connect/${guide}.md)\n`, ...head, ...lines, ""].join("\n");
}

function describeRow({ name, version = "", passed, skipped, failed, notRun, note }: RowResult): string {
  const shown = [
    passed.join(", "),
    ...skipped.map(([what, reason]) => `no ${what}: ${reason}`),
    ...failed.map((line) => line.replace(/^fail:? /, "")),
    ...(notRun === undefined ? [] : [notRun]),
    ...(note === undefined ? [] : [note]),
  ];
  const result = failed.length > 0 ? "**fails**" : notRun === undefined ? "works" : "not run";
  return `| ${[name, version, result, shown.filter((part) => part !== "").join("; ")].map(cell).join(" | ")} |`;
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll(/\s+/g, " ");
}

/** Writes the file. */
export async function writeTable(): Promise<void> {
  const document = await readFile(target, "utf8").catch(() => "");
  const sections: string[] = [];
  for (const language of languages) sections.push(describeLanguage(language, await readResult(language.name), document));
  await writeFile(target, [introduction, ...sections].join("\n").replace(/\n+$/, "\n"));
}
