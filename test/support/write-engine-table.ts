/** `node test/support/write-engine-table.ts`: docs/engines.md from what the end-to-end tests of MySQL, MongoDB and Redis saw last. */
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { EngineName } from "../../core/model.ts";
import { type Fragment, fragmentDir, type Sighting } from "./engine-table.ts";

const engines: readonly EngineName[] = ["MySQL", "MongoDB", "Redis"];
const target = new URL("../../docs/engines.md", import.meta.url);

const introduction = `# What clients of MySQL, MongoDB and Redis are told

The listeners for these protocols authenticate, check scopes and limits, and say where the database is; they do not proxy yet. This is what
each client's user sees, word for word, written down by \`test/e2e/mysql.test.ts\`, \`test/e2e/mongodb.test.ts\` and \`test/e2e/redis.test.ts\`
as they run; \`node test/support/write-engine-table.ts\` makes this file of it. Ids, ports and seconds are replaced by examples.
`;

async function readFragment(engine: EngineName): Promise<Fragment | undefined> {
  try {
    return JSON.parse(await readFile(join(fragmentDir, `${engine}.json`), "utf8")) as Fragment;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

function describeEngine({ engine, sightings, skipped }: Fragment): string {
  const situations = [...new Set(sightings.map(({ situation }) => situation))];
  const rows = situations.flatMap((situation) => rowsOf(sightings.filter((each) => each.situation === situation)));
  const notRun = skipped.map(({ client, reason }) => `\nNot run: ${client}, ${reason}.\n`);
  return [`## ${engine}\n`, "| case | the user sees | client |", "| --- | --- | --- |", ...rows, ...notRun, ""].join("\n");
}

/** Clients that show the same text share a row. */
function rowsOf(sightings: readonly Sighting[]): string[] {
  const clients = new Map<string, string[]>();
  for (const { text, client } of sightings) clients.set(text, [...(clients.get(text) ?? []), client]);
  return [...clients].map(([text, names], at) => `| ${at === 0 ? sightings[0]?.situation : ""} | ${cell(text)} | ${names.join(", ")} |`);
}

function cell(text: string): string {
  const lines = text.split(/\s*\n\s*/).map((line) => `\`${line.replaceAll("|", "\\|").replaceAll("`", "'")}\``);
  return lines.join("<br>");
}

/** An engine whose tests were not run here keeps what the file has of it. */
async function keepSection(engine: EngineName): Promise<string | undefined> {
  const document = await readFile(target, "utf8").catch(() => "");
  return document
    .split(/^(?=## )/m)
    .find((section) => section.startsWith(`## ${engine}\n`))
    ?.trimEnd()
    .concat("\n");
}

const sections: string[] = [];
for (const engine of engines) {
  const fragment = await readFragment(engine);
  const section = fragment ? describeEngine(fragment) : await keepSection(engine);
  if (section) sections.push(section);
  else process.stderr.write(`no tests of ${engine} have been run\n`);
}
await writeFile(target, [introduction, ...sections].join("\n").replace(/\n+$/, "\n"));
