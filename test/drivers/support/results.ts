/** What the drivers showed, noted as they are run and gathered into docs/drivers.md. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** One file per language, written by drivers.test.ts and read by write-table.ts. */
export const resultsDir: string = fileURLToPath(new URL("../../../node_modules/.cache/driver-results", import.meta.url));

export interface RowResult {
  readonly name: string;
  version?: string;
  /** What was shown to work. */
  readonly passed: string[];
  /** What the driver has no way to do. */
  readonly skipped: (readonly [what: string, reason: string])[];
  readonly failed: string[];
  /** Why nothing was run, if so. */
  notRun?: string;
  note?: string;
}

export interface LanguageResult {
  readonly language: string;
  readonly guide: string;
  readonly rows: readonly RowResult[];
}

export async function writeResult(result: LanguageResult): Promise<void> {
  await mkdir(resultsDir, { recursive: true });
  await writeFile(join(resultsDir, `${result.language}.json`), JSON.stringify(result, undefined, 2));
}
