/** What clients of the redirecting listeners showed, noted by the tests that saw it and gathered into docs/engines.md. */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { EngineName } from "../../core/model.ts";

/** One file per engine, written by its end-to-end test and read by write-engine-table.ts. */
export const fragmentDir: string = fileURLToPath(new URL("../../node_modules/.cache/engine-table", import.meta.url));

export interface Sighting {
  /** As "wrong password". */
  readonly situation: string;
  /** As "mysql2 (Deno)". */
  readonly client: string;
  /** As its user sees it. */
  readonly text: string;
}

export interface Fragment {
  readonly engine: EngineName;
  readonly sightings: readonly Sighting[];
  /** Clients that were not run, and why. */
  readonly skipped: readonly { readonly client: string; readonly reason: string }[];
}

export class EngineTable {
  readonly #engine: EngineName;
  readonly #sightings: Sighting[] = [];
  readonly #skipped: { client: string; reason: string }[] = [];

  constructor(engine: EngineName) {
    this.#engine = engine;
  }

  saw(client: string, situation: string, text: string): void {
    this.#sightings.push({ situation, client, text: steady(text) });
  }

  skipped(client: string, reason: string): void {
    this.#skipped.push({ client, reason });
  }

  /** To be called when all clients have been run. */
  async write(): Promise<void> {
    const fragment: Fragment = { engine: this.#engine, sightings: this.#sightings, skipped: this.#skipped };
    await mkdir(fragmentDir, { recursive: true });
    await writeFile(join(fragmentDir, `${this.#engine}.json`), JSON.stringify(fragment, undefined, 2));
  }
}

const ports: readonly (readonly [EngineName, number])[] = [
  ["PostgreSQL", 5432],
  ["MySQL", 3306],
  ["MongoDB", 27017],
  ["Redis", 6379],
];

/** The same text on every run: ids, ports and seconds as in the specification's examples. */
function steady(text: string): string {
  const named = text.replaceAll(/tdb_[0-9a-f]{8}\b/g, "tdb_2abf90d3").replaceAll(/retry in \d+s/g, "retry in 47s");
  return ports.reduce((all, [engine, port]) => all.replaceAll(new RegExp(`${engine} on port \\d+`, "g"), `${engine} on port ${port}`), named).trim();
}
