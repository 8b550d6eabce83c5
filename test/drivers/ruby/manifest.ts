/** The pg gem and ActiveRecord, as the machine has them: Debian's packages are ruby-pg and ruby-activerecord. */
import { join } from "node:path";
import { installed, makeWorkDir, missing, sourceDir } from "../support/install.ts";
import type { Command, Language, Row } from "../support/language.ts";

let workDir = "";

async function prepare(): Promise<string | undefined> {
  workDir = await makeWorkDir(await installed("ruby", [], async () => {}));
  return missing("ruby", "-rpg", "-e", "");
}

function program(name: string): Command {
  return ["ruby", join(sourceDir("ruby"), name)];
}

const rows: readonly Row[] = [
  {
    name: "pg (gem)",
    snippet: { files: ["pg.rb"], commands: [["ruby", "pg.rb"]], proof: "reads" },
    checks: program("pg.rb"),
  },
  {
    name: "ActiveRecord",
    prepare: () => missing("ruby", "-ractive_record", "-e", ""),
    snippet: { files: ["database.yml"], commands: [program("database_yml.rb")], proof: "reads" },
    checks: program("active_record.rb"),
    migration: { command: program("active_record.rb"), files: ["1_accounts_and_transactions.rb", "2_plan.rb"] },
  },
];

export const ruby: Language = { name: "Ruby", guide: "ruby", prepare, workDir: () => workDir, rows };
