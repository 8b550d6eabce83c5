/** PDO and the pgsql extension, as the machine has them: Debian's packages are php-cli and php-pgsql. */
import { join } from "node:path";
import { installed, makeWorkDir, missing, sourceDir } from "../support/install.ts";
import type { Language, Row } from "../support/language.ts";

let workDir = "";

async function prepare(): Promise<string | undefined> {
  workDir = await makeWorkDir(await installed("php", [], async () => {}));
  return missing("php", "--rf", "pg_connect");
}

const rows: readonly Row[] = [
  {
    name: "PDO, pgsql",
    snippet: { files: ["pdo.php"], commands: [["php", "pdo.php"]], proof: "reads" },
    checks: ["php", join(sourceDir("php"), "pdo.php")],
    note: "the version is PHP's",
  },
];

export const php: Language = { name: "PHP", guide: "php", prepare, workDir: () => workDir, rows };
