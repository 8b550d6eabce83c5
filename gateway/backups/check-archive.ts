/** An archive is read back while it is made: one that only looks like a backup is found out at once, and not when it is needed. */

import { columnList, tableName } from "../../core/backup-format.ts";
import { damaged } from "../../core/byte-source.ts";
import type { ArchiveResult } from "../../core/dumper.ts";
import { GatewayError } from "../../core/errors.ts";
import type { ClientTools } from "./client-tools.ts";

export interface ArchiveCheck {
  /** The archive as it passes; no faster than it is read back. */
  readonly archive: AsyncIterable<Uint8Array>;
  /** To be called when all of it has passed. @throws {GatewayError} backup_unusable where it is not what a restore will look for */
  compare(result: ArchiveResult): Promise<void>;
}

export function checkArchive(archive: AsyncIterable<Uint8Array>, tools: ClientTools, toolVersion: number, signal: AbortSignal): ArchiveCheck {
  const branch = new Branch();
  const reading = readTables(tools.decode(branch.read(), toolVersion, signal)).finally(() => branch.leave());
  reading.catch(() => undefined); // told by compare
  return {
    archive: branch.pass(archive),
    async compare({ archived, manifest }) {
      const found = await reading;
      const rows = new Map(manifest.tables.map((table) => [tableName(table), table.rows]));
      const wanted = new Map(archived.tables.map((table) => [tableName(table), { columns: columnList(table), rows: rows.get(tableName(table)) }]));
      const ignored = new Set(archived.extensionTables.map(tableName));
      for (const name of new Set([...wanted.keys(), ...found.keys()])) {
        if (ignored.has(name) && !wanted.has(name)) continue;
        const [has, wants] = [found.get(name), wanted.get(name)];
        if (has && wants && has.columns === wants.columns && has.rows === wants.rows) continue;
        throw new GatewayError("backup_unusable", `The backup was not made: pg_dump ${toolVersion} did not keep table ${name} as it is`);
      }
    },
  };
}

interface TableInArchive {
  readonly columns: string;
  readonly rows: number;
}

async function readTables(script: ReturnType<ClientTools["decode"]>): Promise<ReadonlyMap<string, TableInArchive>> {
  const tables = new Map<string, TableInArchive>();
  for await (const part of script) {
    if (part.type !== "copy") continue;
    let rows = 0;
    for await (const chunk of part.data) for (let at = chunk.indexOf(0x0a); at >= 0; at = chunk.indexOf(0x0a, at + 1)) rows++;
    const columns = columnList({ columns: part.columns.map((name) => ({ name })) });
    if (tables.has(tableName(part))) throw damaged("its archive has a table twice");
    tables.set(tableName(part), { columns, rows });
  }
  return tables;
}

/** Hands on what passes to a second reader, one chunk at a time; one that has left is not waited for. */
class Branch {
  #chunk: Uint8Array | undefined;
  #end: { readonly error?: unknown } | undefined;
  #hasLeft = false;
  #waiting: (() => void)[] = [];

  async *pass(source: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
    let end: { readonly error?: unknown } = { error: new Error("the archive was not read to its end") };
    try {
      for await (const chunk of source) {
        while (this.#chunk !== undefined && !this.#hasLeft) await this.#change();
        this.#chunk = chunk;
        this.#tell();
        yield chunk;
      }
      end = {};
    } catch (error) {
      end = { error };
      throw error;
    } finally {
      this.#end = end;
      this.#tell();
    }
  }

  async *read(): AsyncGenerator<Uint8Array, void, undefined> {
    for (;;) {
      const chunk = this.#chunk;
      if (chunk !== undefined) {
        this.#chunk = undefined;
        this.#tell();
        yield chunk;
      } else if (!this.#end) await this.#change();
      else if ("error" in this.#end) throw this.#end.error;
      else return;
    }
  }

  leave(): void {
    this.#hasLeft = true;
    this.#tell();
  }

  #change(): Promise<void> {
    return new Promise((done) => this.#waiting.push(done));
  }

  #tell(): void {
    for (const done of this.#waiting.splice(0)) done();
  }
}
