/** Conversations of the gateway's own with a backend at rest: to take it over from another client, and to prepare a statement there. */

import { decodeParameterStatus } from "../backend.ts";
import type { PostgresBackend } from "../backend-session.ts";
import { concatBytes, fromUtf8, readable, utf8 } from "../bytes.ts";
import { encodeQuery, encodeSync } from "../frontend.ts";
import { backend as B, frontend as F, transactionStatus } from "../message-types.ts";
import type { BackendState } from "./backend-state.ts";
import { encodeForStatement, nextPreparation, type Statement } from "./client-statements.ts";

/** One message of the backend, during the call. */
export interface Answer {
  readonly type: number;
  readonly body: Uint8Array;
  /** Header and body. */
  readonly frame: Uint8Array;
}

export interface Exchange {
  readonly request: Uint8Array;
  /** A message has come. @returns what is to be passed to the client of it; `over` once it is the last one. */
  take(answer: Answer): "more" | "pass" | "over";
}

/**
 * Everything of a session but its prepared statements, which are no client's own here; as DISCARD ALL, and each with the tag it answers with.
 * One message, so that what fails leaves its proof incomplete.
 */
const takeOverSteps: readonly (readonly [sql: string, tag: string])[] = [
  ["RESET ALL", "RESET"],
  ["SET SESSION AUTHORIZATION DEFAULT", "SET"],
  ["CLOSE ALL", "CLOSE CURSOR ALL"],
  ["UNLISTEN *", "UNLISTEN"],
  ["SELECT pg_catalog.pg_advisory_unlock_all()", "SELECT 1"],
  ["DISCARD TEMP", "DISCARD TEMP"],
  ["DISCARD SEQUENCES", "DISCARD SEQUENCES"],
];
const takeOverQuery = encodeQuery(takeOverSteps.map(([sql]) => sql).join("; "));
const flush = Uint8Array.of(F.Flush, 0, 0, 0, 4);

/** Cleans up after the client before, then makes the next one's settings. Nothing of it is for the client. */
export class TakeOver implements Exchange {
  readonly request: Uint8Array;
  readonly #backend: PostgresBackend;
  readonly #cleans: boolean;
  #queriesLeft: number;
  #steps = 0;
  /** The session is proven to be as after login. */
  isClean: boolean;
  /** Each setting was made. */
  hasSettings = true;

  constructor(backend: PostgresBackend, cleans: boolean, settings: readonly string[]) {
    this.#backend = backend;
    this.#cleans = cleans;
    this.isClean = !cleans;
    this.#queriesLeft = (cleans ? 1 : 0) + (settings.length > 0 ? 1 : 0);
    this.request = concatBytes(...(cleans ? [takeOverQuery] : []), ...(settings.length > 0 ? [encodeQuery(settings.join("; "))] : []));
  }

  take({ type, body }: Answer): "more" | "over" {
    const isCleaning = this.#cleans && !this.isClean;
    switch (type) {
      case B.CommandComplete:
        if (isCleaning && utf8(body) === `${takeOverSteps[this.#steps]?.[1]}\0`) this.#steps++;
        return "more";
      case B.ErrorResponse:
        if (!isCleaning) this.hasSettings = false;
        return isCleaning ? "over" : "more";
      case B.ParameterStatus: {
        const pair = readable(body, decodeParameterStatus);
        if (pair) this.#backend.parameters.set(...pair);
        return "more";
      }
      case B.ReadyForQuery:
        if (body[0] !== transactionStatus.idle) return "over";
        if (isCleaning) {
          if (this.#steps !== takeOverSteps.length) return "over";
          this.isClean = true;
        }
        return --this.#queriesLeft === 0 ? "over" : "more";
      default:
        return "more"; // rows of a function call, notices, and notifications that were the client's before
    }
  }

  /** Whether `over` means done. */
  get isDone(): boolean {
    return this.isClean && this.hasSettings && this.#queriesLeft === 0;
  }
}

/** Prepares one statement of a client's on the backend it has now. */
export class Preparation implements Exchange {
  readonly request: Uint8Array;
  readonly statement: Statement;
  readonly #endsWithSync: boolean;
  readonly #preparedAt = nextPreparation();
  readonly #describes: boolean;
  /** PostgreSQL would not prepare it; the error was passed on, unless a Sync of ours ended it. */
  isRefused = false;

  /** @param inPipeline between messages of the client's that have no Sync yet: one of ours would end their transaction. */
  constructor(statement: Statement, state: BackendState, inPipeline: boolean) {
    this.statement = statement;
    this.#endsWithSync = !inPipeline;
    const evicted = state.add(statement, this.#preparedAt);
    const outdated = statement.key === "" ? evicted : [statement.key, ...evicted];
    this.#describes = statement.shape !== undefined;
    this.request = concatBytes(
      ...outdated.map((key) => encodeForStatement(F.Close, fromUtf8(key))),
      statement.parse,
      ...(this.#describes ? [encodeForStatement(F.Describe, statement.backendName)] : []),
      inPipeline ? flush : encodeSync(),
    );
  }

  take({ type, body }: Answer): "more" | "pass" | "over" {
    switch (type) {
      case B.ParseComplete:
        return this.#describes || this.#endsWithSync ? "more" : "over";
      case B.CloseComplete:
      case B.ParameterDescription:
        return "more";
      case B.RowDescription:
      case B.NoData:
        this.#compare(type === B.NoData ? body.subarray(0, 0) : body);
        return this.#endsWithSync ? "more" : "over";
      case B.ErrorResponse:
        this.isRefused = true;
        return this.#endsWithSync ? "more" : "over";
      case B.ReadyForQuery:
        return "over";
      default:
        return "pass";
    }
  }

  #compare(shape: Uint8Array): void {
    if (!sameShape(shape, this.statement.shape ?? shape)) this.statement.isStale = true;
  }
}

/** By names and types: which table a column comes from is not the client's business. */
function sameShape(a: Uint8Array, b: Uint8Array): boolean {
  if (a.length !== b.length) return false;
  for (let at = 2; at < a.length; ) {
    const end = a.indexOf(0, at);
    if (end < 0) return false;
    // cstring name · uint32 table · uint16 column · uint32 type · uint16 size · uint32 modifier · uint16 format
    for (let i = at; i < end + 19; i++) if (a[i] !== b[i] && (i <= end || i > end + 6)) return false;
    at = end + 19;
  }
  return true;
}
