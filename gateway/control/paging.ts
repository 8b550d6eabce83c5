/** Cursors: the sort key of the last item, opaque to clients. */
import type { Listing, Page } from "../../core/control-plane.ts";
import { GatewayError } from "../../core/errors.ts";

export type CursorKey = readonly (string | number)[];

/** The last moment a Date can hold, and fewer than a bigint's. */
const latestMs = 8.64e15;
const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

export function encodeCursor(key: CursorKey): string {
  let binary = "";
  for (const byte of encoder.encode(JSON.stringify(key))) binary += String.fromCharCode(byte);
  return btoa(binary).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** @throws {GatewayError} bad_request for what `encodeCursor` never made of this shape. */
export function decodeCursor<K extends readonly ("string" | "number")[]>(cursor: string, shape: K): CursorKey {
  const wrong = () =>
    new GatewayError("bad_request", "The cursor is not one this list gave out", {
      issues: [{ path: "cursor", message: "use next_cursor of the previous answer" }],
    });
  let value: unknown;
  try {
    const bytes = Uint8Array.from(atob(cursor.replaceAll("-", "+").replaceAll("_", "/")), (c) => c.charCodeAt(0));
    value = JSON.parse(decoder.decode(bytes));
  } catch {
    throw wrong();
  }
  if (!Array.isArray(value) || value.length !== shape.length || value.some((part, i) => typeof part !== shape[i] || !isKey(part))) throw wrong();
  return value as CursorKey;
}

/** Times, numbers and names as tables have them: what is none would be the store's error. */
function isKey(part: string | number): boolean {
  if (typeof part === "number") return Number.isInteger(part) && Math.abs(part) <= latestMs;
  return !/\p{Cc}/u.test(part);
}

/** Lists fetch one row more than asked for; that one only says that there is more. */
export function toListing<R, T>(rows: readonly R[], page: Page, map: (row: R) => T, keyOf: (row: R) => CursorKey): Listing<T> {
  const limit = pageLimit(page);
  const shown = rows.slice(0, limit);
  const last = shown.at(-1);
  return { items: shown.map(map), nextCursor: rows.length > limit && last !== undefined ? encodeCursor(keyOf(last)) : undefined };
}

/** @throws {GatewayError} bad_request outside 1 … 1000. */
export function pageLimit(page: Page): number {
  if (!Number.isInteger(page.limit) || page.limit < 1 || page.limit > 1000) {
    throw new GatewayError("bad_request", "limit must be between 1 and 1000", { issues: [{ path: "limit", message: "1 to 1000" }] });
  }
  return page.limit;
}
