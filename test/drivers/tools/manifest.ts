/** Programs of PostgreSQL itself, and the catalog queries of desktop clients. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { run } from "../../e2e/support/gateway.ts";
import { installed, makeWorkDir, missing, sourceDir } from "../support/install.ts";
import type { Command, Language, Row } from "../support/language.ts";

let workDir = "";
let serverPrograms = "";

async function prepare(): Promise<string | undefined> {
  workDir = await makeWorkDir(await installed("tools", [], async () => {}));
  return missing("psql", "--version");
}

/** pg_dump dumps no server newer than itself, so it is given one of its own version. */
async function findServer(): Promise<string | undefined> {
  const absent = await missing("pg_dump", "--version");
  if (absent) return absent;
  const major = /\d+/.exec((await run("pg_dump", ["--version"])).stdout)?.[0] ?? "";
  serverPrograms = `/usr/lib/postgresql/${major}/bin`;
  return existsSync(join(serverPrograms, "initdb")) ? undefined : `PostgreSQL ${major}, the server of this pg_dump, is not installed`;
}

function program(name: string): Command {
  return ["bash", join(sourceDir("tools"), name)];
}

function catalog(name: string): Command {
  return ["node", join(sourceDir("tools"), "catalog.mjs"), join(sourceDir("tools"), name)];
}

const rows: readonly Row[] = [
  { name: "psql", snippet: { files: ["psql.sh"], commands: [["sh", "psql.sh"]], proof: "reads" }, checks: program("psql.sh") },
  {
    name: "pg_dump",
    prepare: findServer,
    tool: program("pg_dump.sh"),
    toolGateway: () => ({ embedded_bin_dir: serverPrograms }),
    note: "against a server of its own version",
  },
  {
    name: "pgbench",
    prepare: () => missing("pgbench", "--version"),
    snippet: { files: ["pgbench.sh"], commands: [["sh", "pgbench.sh"]], empty: true, proof: { captured: "pgbench_accounts" } },
    tool: program("pgbench.sh"),
  },
  { name: "DBeaver", tool: catalog("dbeaver.sql"), note: "what it asks when it connects, opens a table and its session manager" },
  { name: "pgAdmin 4", tool: catalog("pgadmin.sql"), note: "what it asks when a server, its dashboard and a table are opened" },
  { name: ".NET Npgsql", absent: ".NET and its packages are in none of the registries that these tests use" },
];

export const tools: Language = { name: "Tools", guide: "tools", prepare, workDir: () => workDir, rows };
