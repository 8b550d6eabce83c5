/** The statements a client has prepared, under its own names, with what it takes to prepare them on another backend. */
import { concatBytes, fromUtf8, MessageWriter } from "../bytes.ts";
import type { Parse } from "../frontend.ts";
import { frontend as F } from "../message-types.ts";
import type { StateReading } from "./session-state.ts";

/** Per client. PostgreSQL has no limit but its memory; here the texts are kept in the gateway's. */
export const maxStatements = 10_000;
export const maxStatementBytes = 32 * 1024 * 1024;

export interface Statement {
  /** What backends know it by: the same for the same text and types, so that clients share it. "" = the unnamed one. */
  readonly backendName: Uint8Array;
  /** `backendName` as a key. */
  readonly key: string;
  /** The Parse message that prepares it on a backend. */
  readonly parse: Uint8Array;
  /** When the client prepared it: a plan made on a backend before that may be of an older schema. */
  readonly parsedAt: number;
  /** What executing it leaves behind. */
  readonly reading: StateReading | undefined;
  /** The RowDescription the client was given for it, empty for none; undefined: it never asked. */
  shape: Uint8Array | undefined;
  /** Its rows have another shape now than the client was told. */
  isStale: boolean;
}

const noName = new Uint8Array(0);

/** Sequence of preparations in this process, on any backend. */
let lastPrepared = 0;

export function nextPreparation(): number {
  return ++lastPrepared;
}

export class ClientStatements {
  #named: Map<string, Statement> | undefined;
  #bytes = 0;
  unnamed: Statement | undefined;

  /** @returns the client's statement of this name, as bytes in a Latin-1 string; PostgreSQL compares the first 63. */
  find(name: string): Statement | undefined {
    return name === "" ? this.unnamed : this.#named?.get(name);
  }

  /** Whether one more of this size may be kept. */
  hasRoom(bytes: number): boolean {
    return (this.#named?.size ?? 0) < maxStatements && this.#bytes + bytes <= maxStatementBytes;
  }

  set(name: string, statement: Statement | undefined): void {
    if (name === "") {
      this.unnamed = statement;
      return;
    }
    this.#named ??= new Map();
    this.#bytes += (statement?.parse.length ?? 0) - (this.#named.get(name)?.parse.length ?? 0);
    if (statement) this.#named.set(name, statement);
    else this.#named.delete(name);
  }

  /** DISCARD ALL, DEALLOCATE ALL. */
  clear(): void {
    this.#named = undefined;
    this.#bytes = 0;
  }

  get all(): readonly Statement[] {
    return [...(this.#named?.values() ?? []), ...(this.unnamed ? [this.unnamed] : [])];
  }
}

/** @param digest SHA-256, so that no client can make its statement pass for another's. */
export function makeStatement(parse: Parse, reading: StateReading | undefined, digest: (data: Uint8Array) => Uint8Array): Statement {
  const { sql, parameterTypes } = parse;
  const nul = Uint8Array.of(0);
  const text = concatBytes(sql, nul, parameterTypes);
  const key = parse.statement.length === 0 ? "" : `tdb_${hex(digest(text))}`;
  const backendName = fromUtf8(key);
  const body = concatBytes(backendName, nul, text);
  const message = new MessageWriter(body.length + 5).begin(F.Parse).bytes(body).end().finish();
  return { backendName, key, parse: message, parsedAt: nextPreparation(), reading, shape: undefined, isStale: false };
}

/** `frame` is copied: it is kept as long as the client may bind it. */
export function unnamedStatement(frame: Uint8Array, reading: StateReading | undefined): Statement {
  return { backendName: noName, key: "", parse: frame.slice(), parsedAt: nextPreparation(), reading, shape: undefined, isStale: false };
}

/** Close or Describe of a prepared statement. */
export function encodeForStatement(type: number, name: Uint8Array): Uint8Array {
  return new MessageWriter(name.length + 7).begin(type).uint8(0x53).bytes(name).uint8(0).end().finish();
}

/** 20 bytes are enough to tell texts apart, and the name stays below PostgreSQL's 63. */
function hex(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < 20; at++) text += bytes[at]!.toString(16).padStart(2, "0");
  return text;
}
