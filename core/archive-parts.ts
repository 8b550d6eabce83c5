/** A backup whose rows are in an archive of pg_dump: what its own file says of it and what the archive gives, put together as one backup. */
import type { ScriptPart } from "./archive-script.ts";
import { type ArchivedTables, type BackupPart, type BackupTable, largeObjectContents, tableName } from "./backup-format.ts";
import { damaged } from "./byte-source.ts";

const encoder = new TextEncoder();

/**
 * @param contents the parts of the file beside the archive
 * @param openArchive the archive's data, asked for when its turn has come
 * @throws {GatewayError} backup_unusable where the archive has a table too many or too few, or with other columns
 */
export async function* joinArchive(
  contents: AsyncIterable<BackupPart>,
  openArchive: (archived: ArchivedTables) => AsyncGenerator<ScriptPart, void, undefined>,
): AsyncGenerator<BackupPart, void, undefined> {
  let isJoined = false;
  for await (const part of contents) {
    if (part.type === "archived") {
      if (isJoined) throw damaged("it names two archives");
      isJoined = true;
      yield* readArchived(part.archived, openArchive(part.archived));
    } else {
      if (part.type === "manifest" && !isJoined) throw damaged("it names no archive");
      yield part;
    }
  }
}

async function* readArchived(
  archived: ArchivedTables,
  script: AsyncGenerator<ScriptPart, void, undefined>,
): AsyncGenerator<BackupPart, void, undefined> {
  const wanted = new Map(archived.tables.map((table) => [tableName(table), table]));
  const ignored = new Set(archived.extensionTables.map(tableName));
  let objectsSeen = false;
  try {
    let { done, value: part } = await script.next();
    while (!done && part) {
      if (part.type === "object data") {
        if (objectsSeen) throw damaged("its large objects are in two places");
        objectsSeen = true;
        const objects = new ObjectRows(script, part);
        yield { type: "table", table: largeObjectContents, data: objects.read() };
        ({ done, value: part } = objects.next ?? (await script.next()));
        continue;
      }
      if (part.type === "copy") {
        const key = keyOf(part);
        if (ignored.has(key)) for await (const _ of part.data);
        else yield { type: "table", table: take(wanted, key, part.columns), data: part.data };
      }
      // Sequences are as the file has them, read after the last row: the archive's are a little older.
      ({ done, value: part } = await script.next());
    }
  } finally {
    await script.return();
  }
  for (const { schema, name } of wanted.values()) throw damaged(`table ${schema}.${name} is not in its archive`);
}

function keyOf(part: { readonly schema: string; readonly name: string }): string {
  try {
    return tableName(part);
  } catch {
    throw damaged("its archive has a name that cannot be one");
  }
}

/** Each once, with the very columns that were counted. */
function take(wanted: Map<string, BackupTable>, key: string, columns: readonly string[]): BackupTable {
  const table = wanted.get(key);
  if (!table) throw damaged("its archive has a table twice, or one that was not there");
  wanted.delete(key);
  const isSame = columns.length === table.columns.length && columns.every((name, at) => name === table.columns[at]?.name);
  if (!isSame) throw damaged(`table ${table.schema}.${table.name} has other columns in its archive`);
  return table;
}

/** Pieces of large objects as rows of a table, up to the first part that is none. */
class ObjectRows {
  readonly #script: AsyncGenerator<ScriptPart, void, undefined>;
  readonly #first: Extract<ScriptPart, { type: "object data" }>;
  /** What came behind them; undefined until the rows were read to their end. */
  next: IteratorResult<ScriptPart, void> | undefined;

  constructor(script: AsyncGenerator<ScriptPart, void, undefined>, first: Extract<ScriptPart, { type: "object data" }>) {
    this.#script = script;
    this.#first = first;
  }

  async *read(): AsyncGenerator<Uint8Array, void, undefined> {
    for (let part: ScriptPart = this.#first; ; ) {
      yield encoder.encode(`${part.oid}\t${part.position}\t\\\\x${part.hex}\n`);
      const next = await this.#script.next();
      if (next.done || next.value.type !== "object data") {
        this.next = next;
        return;
      }
      part = next.value;
    }
  }
}
