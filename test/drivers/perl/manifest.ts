/** DBD::Pg, and psqlODBC through DBD::ODBC, as the machine has them: Debian's packages are libdbd-pg-perl, libdbd-odbc-perl and odbc-postgresql. */
import { join } from "node:path";
import { installed, makeWorkDir, missing, sourceDir } from "../support/install.ts";
import type { Command, Language, Row } from "../support/language.ts";

let workDir = "";

async function prepare(): Promise<string | undefined> {
  workDir = await makeWorkDir(await installed("perl", [], async () => {}));
  return missing("perl", "-MDBI", "-e", "");
}

function program(name: string): Command {
  return ["perl", join(sourceDir("perl"), name)];
}

const rows: readonly Row[] = [
  {
    name: "DBD::Pg",
    prepare: () => missing("perl", "-MDBD::Pg", "-e", ""),
    snippet: { files: ["dbi.pl"], commands: [["perl", "dbi.pl"]], proof: "reads" },
    checks: program("dbd_pg.pl"),
  },
  {
    name: "psqlODBC",
    prepare: async () => (await missing("perl", "-MDBD::ODBC", "-e", "")) ?? (await missing("odbcinst", "-q", "-d", "-n", "PostgreSQL Unicode")),
    snippet: { files: ["odbc.pl"], commands: [["perl", "odbc.pl"]], proof: "reads" },
    checks: program("dbd_odbc.pl"),
  },
];

export const perl: Language = { name: "Perl and ODBC", guide: "perl", prepare, workDir: () => workDir, rows };
