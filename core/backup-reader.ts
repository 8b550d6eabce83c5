/** Reads backups: from the uncompressed bytes of the file, cut anywhere, to its parts. Trusts nothing it reads. */
import {
  type ArchivedTables,
  type BackupHeader,
  type BackupManifest,
  type BackupPart,
  type BackupSequence,
  type BackupTable,
  backupFormat,
} from "./backup-format.ts";
import { ByteSource, damaged } from "./byte-source.ts";
import { GatewayError } from "./errors.ts";
import type { BlueprintVersion } from "./model.ts";

/** Reads a backup from its uncompressed bytes, part by part. @throws {GatewayError} backup_unusable */
export async function* readBackup(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<BackupPart, void, undefined> {
  const source = new ByteSource(chunks);
  try {
    yield* readParts(source);
  } finally {
    await source.close();
  }
}

async function* readParts(source: ByteSource): AsyncGenerator<BackupPart, void, undefined> {
  let isStarted = false;
  for (;;) {
    const line = await source.readLine();
    if (line === undefined) throw damaged("it ends before its last line");
    const found = /^--:([a-z]+) (.*)$/s.exec(line);
    if (!found) continue;
    const [, word = "", text = ""] = found;
    const value = parseJson(text);
    if (word === "header") checkFormat(value as BackupHeader);
    else if (!isStarted) throw damaged("it does not begin with its header");
    isStarted = true;
    if (word === "table") {
      const data = source.readCopyData();
      await source.readLine(); // the COPY statement
      yield { type: "table", table: value as BackupTable, data };
      for await (const _ of data) throw damaged("a table was not read to its end");
    } else if (word === "version") {
      const { bytes, ...rest } = value as Omit<BlueprintVersion, "sql"> & { bytes: number };
      yield { type: "version", version: { ...rest, sql: await source.readText(bytes) } };
    } else yield toPart(word, value);
    if (word === "manifest") return await expectEnd(source);
  }
}

function checkFormat(header: BackupHeader): void {
  if (header.format === backupFormat) return;
  throw new GatewayError("backup_unusable", `The backup is in format ${header.format}; this version of Tenantry reads format ${backupFormat}`);
}

function toPart(word: string, value: unknown): BackupPart {
  if (word === "header") return { type: "header", header: value as BackupHeader };
  if (word === "archived") return { type: "archived", archived: value as ArchivedTables };
  if (word === "sequences") return { type: "sequences", sequences: value as readonly BackupSequence[] };
  if (word === "views") return { type: "views", views: value as readonly { schema: string; name: string }[] };
  if (word === "manifest") return { type: "manifest", manifest: value as BackupManifest };
  throw damaged(`it has a section "${word.slice(0, 40)}"`);
}

/** To the end of the file, so that its checksum covers all of it. */
async function expectEnd(source: ByteSource): Promise<void> {
  if ((await source.readLine()) !== undefined) throw damaged("there is something behind its last line");
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw damaged("one of its markers is broken");
  }
}
