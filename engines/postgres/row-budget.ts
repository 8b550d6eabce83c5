/** Rows sent to the client by one statement, against max_rows_per_query. Counts and decides; the relay acts. */
import { GatewayError } from "../../core/errors.ts";
import { encodeNotice } from "./backend.ts";
import type { Replies } from "./replies.ts";

/** Start-up setting of a client that wants to be told before the limit is reached: `options=-c tenantry.row_notice=on`. */
const noticeSetting = "tenantry.row_notice";
const noticePart = 0.8;
/** The end of a binary COPY: type, length, int16 −1. */
const copyTrailerBytes = 7;

export const fits = 0;
/** It fits, and the client is to be told that most of the budget is used up. */
export const nearly = 1;
export const exceeds = 2;

export class RowBudget {
  readonly #replies: Replies;
  #wantsNotice = false;
  #rows = 0;
  /** Whose rows these are, and that it was left in the middle: another portal's may come now. */
  #portal: string | undefined;
  #isSuspended = false;
  /** Messages of the running COPY that are no rows: the header line of a text format. */
  #headers = 0;
  #copiesBinary = false;

  constructor(replies: Replies, parameters: ReadonlyMap<string, string> | undefined) {
    this.#replies = replies;
    for (const [name, value] of parameters ?? []) if (name.toLowerCase() === noticeSetting) this.#wantsNotice = isOn(value);
  }

  /** Another statement runs. */
  reset(): void {
    this.#rows = 0;
    this.#headers = 0;
    this.#isSuspended = false;
  }

  /** A portal has sent as many rows as were asked for, and may be asked for more. */
  suspend(): void {
    this.#isSuspended = true;
  }

  copyBegins(isBinary: boolean, hasHeader: boolean): void {
    this.#copiesBinary = isBinary;
    this.#headers = hasHeader && !isBinary ? 1 : 0;
  }

  /** One message a row, and one for the trailer of the binary format. */
  countCopyData(totalBytes: number, limit: number): typeof fits | typeof nearly | typeof exceeds {
    if (this.#copiesBinary && totalBytes === copyTrailerBytes) return fits;
    if (this.#headers > 0) {
      this.#headers--;
      return fits;
    }
    return this.countRow(limit);
  }

  countRow(limit: number): typeof fits | typeof nearly | typeof exceeds {
    if (this.#isSuspended) {
      this.#isSuspended = false;
      if (this.#replies.portal !== this.#portal) this.#rows = 0;
    }
    if (this.#rows === 0) this.#portal = this.#replies.portal;
    if (++this.#rows > limit) return this.#replies.mayWrite ? fits : exceeds;
    const isNear = this.#wantsNotice && this.#rows === Math.max(1, Math.floor(limit * noticePart)) && !this.#replies.mayWrite;
    return isNear ? nearly : fits;
  }
}

export function tooManyRows(limit: number): GatewayError {
  return new GatewayError("too_many_rows", `query exceeded max_rows_per_query (${limit})`);
}

export function rowNotice(limit: number): Uint8Array {
  return encodeNotice({ sqlstate: "01000", message: `query has used 80% of max_rows_per_query (${limit})` });
}

/** The spellings PostgreSQL takes for a boolean that is true. */
function isOn(value: string): boolean {
  return ["on", "true", "yes", "1"].includes(value.toLowerCase());
}
