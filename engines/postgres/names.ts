/** Names of statements and portals, read where they stand. Drivers use few of them, so that a name seen before is the same string again. */

/** PostgreSQL compares so many bytes (NAMEDATALEN less its NUL). */
const significantBytes = 63;
const slots = 256;
/** By a hash of their bytes; a newcomer takes the place of whoever has it. */
const seen: string[] = new Array(slots).fill("");

/** Where the NUL of a name or text that begins at `from` is; −1 when it is not before `to`. */
export function endOfName(bytes: Uint8Array, from: number, to: number): number {
  const near = Math.min(to, from + significantBytes + 1);
  for (let at = from; at < near; at++) if (bytes[at] === 0) return at;
  if (near >= to) return -1;
  const end = bytes.indexOf(0, near);
  return end >= 0 && end < to ? end : -1;
}

/** The bytes from `from` up to `to` as a map key, byte for byte, as far as PostgreSQL compares them. */
export function nameIn(bytes: Uint8Array, from: number, to: number): string {
  const end = Math.min(to, from + significantBytes);
  if (from >= end) return "";
  let hash = 0;
  for (let at = from; at < end; at++) hash = (hash * 31 + bytes[at]!) | 0;
  const slot = hash & (slots - 1);
  const known = seen[slot]!;
  if (known.length === end - from && isSame(known, bytes, from)) return known;
  const name = String.fromCharCode(...bytes.subarray(from, end));
  seen[slot] = name;
  return name;
}

function isSame(name: string, bytes: Uint8Array, from: number): boolean {
  for (let i = 0; i < name.length; i++) if (name.charCodeAt(i) !== bytes[from + i]) return false;
  return true;
}

/** All of these bytes, as `nameIn`. */
export function nameOf(bytes: Uint8Array): string {
  return nameIn(bytes, 0, bytes.length);
}

/**
 * The name that begins `at`, as `nameIn`. One that does not end before `to` is what is there of it: PostgreSQL refuses such a message, or the rest is
 * still to come.
 */
export function nameAt(bytes: Uint8Array, at: number, to: number): string {
  const end = endOfName(bytes, at, to);
  return nameIn(bytes, at, end < 0 ? to : end);
}

/** Behind the NUL of the string that begins `at`, `to` where it has none. Of Bind: portal, then prepared statement. */
export function nextString(bytes: Uint8Array, at: number, to: number): number {
  const end = endOfName(bytes, at, to);
  return end < 0 ? to : end + 1;
}
