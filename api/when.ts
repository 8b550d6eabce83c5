/** Times as people give them in queries: exact, or a span back from now. */
import { z } from "@hono/zod-openapi";
import { badInput } from "./envelope.ts";

export const When = z
  .string()
  .regex(/^\d{1,6}[smhd]$|^\d{4}-\d\d-\d\dT/, "must be a time as 2027-01-31T00:00:00Z, or a span back from now as 30m, 12h or 7d")
  .optional();

export const rangeFields = {
  since: When.openapi({ description: "A time, or a span back from now: `1h`.", example: "1h" }),
  until: When.openapi({ description: "As `since`; up to, not including.", example: "2027-01-31T00:00:00Z" }),
};

const unitMs: Record<string, number> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** @throws {GatewayError} bad_request that names `path`. */
export function readWhen(path: string, text: string | undefined, now: number): number | undefined {
  if (text === undefined) return undefined;
  const span = /^(\d+)([smhd])$/.exec(text);
  const at = span ? now - Number(span[1]) * unitMs[span[2]!]! : Date.parse(text);
  if (!Number.isFinite(at) || Math.abs(at) > 8.64e15) throw badInput([{ path, message: "is not a time" }]);
  return at;
}

export function readRange(query: { since?: string | undefined; until?: string | undefined }, now: number) {
  return { since: readWhen("since", query.since, now), until: readWhen("until", query.until, now) };
}
