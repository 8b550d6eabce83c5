/** Paging of lists that are whole in memory: sessions, bans, projects, clusters, pending changes, what a scope names. */
import { badInput } from "./envelope.ts";
import { readPage } from "./present.ts";

/**
 * One page of `items` in the order of their keys. The cursor is the last key shown, so what comes and goes between two pages moves nothing.
 * @throws {GatewayError} bad_request for a cursor that is none.
 */
export function pageOf<T>(items: readonly T[], query: { limit?: string | undefined; cursor?: string | undefined }, keyOf: (item: T) => string) {
  const { limit, cursor } = readPage(query);
  const after = cursor === undefined ? undefined : decodeKey(cursor);
  const sorted = items.map((item) => [keyOf(item), item] as const).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  const rest = after === undefined ? sorted : sorted.filter(([key]) => key > after);
  const shown = rest.slice(0, limit);
  const next_cursor = rest.length > limit ? encodeKey(shown.at(-1)![0]) : null;
  return { items: shown.map(([, item]) => item), count: shown.length, next_cursor };
}

function encodeKey(key: string): string {
  return btoa(encodeURIComponent(key)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

function decodeKey(cursor: string): string {
  try {
    return decodeURIComponent(atob(cursor.replaceAll("-", "+").replaceAll("_", "/")));
  } catch {
    throw badInput([{ path: "cursor", message: "use next_cursor of the previous answer" }]);
  }
}
