/** ETag and If-Match: two people who change the same settings do not undo each other's change unseen. @see https://www.rfc-editor.org/rfc/rfc9110#name-if-match */
import { GatewayError } from "../core/errors.ts";
import { badInput } from "./envelope.ts";

const encoder = new TextEncoder();

/** Documented on the endpoints that look at it; no part of their validated input, so that typed clients need not name it. */
export const ifMatchParameter = {
  name: "If-Match",
  in: "header" as const,
  description: "The ETag of what you read: refused with 412 `precondition_failed` when it has changed since.",
  schema: { type: "string" as const, maxLength: 1024 },
  example: '"6f1c2a90d37be4a1"',
};

/** The same for equal values, whatever the order of their fields. */
export async function etagOf(value: object): Promise<string> {
  const text = JSON.stringify(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)));
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", encoder.encode(text)));
  return `"${[...digest.subarray(0, 8)].map((byte) => byte.toString(16).padStart(2, "0")).join("")}"`;
}

/**
 * What compares the present value with If-Match; undefined where the request has none.
 * @throws {GatewayError} bad_request for a header that is no list of ETags; the check throws precondition_failed.
 */
export function ifMatch(header: string | undefined, what: string): ((current: object) => Promise<void>) | undefined {
  if (header === undefined || header.trim() === "*") return undefined;
  const tags = header.split(",").map((tag) => tag.trim());
  if (!tags.every((tag) => /^(?:W\/)?"[\x21\x23-\x7e]*"$/.test(tag))) {
    throw badInput([{ path: "If-Match", message: 'must be an ETag in quotes, as an earlier answer had it: "6f1c2a90d37be4a1"' }]);
  }
  return async (current) => {
    if (tags.includes(await etagOf(current))) return; // strong comparison: weak ones never match
    throw new GatewayError("precondition_failed", `${what} changed since you read them; read them again and decide`);
  };
}
