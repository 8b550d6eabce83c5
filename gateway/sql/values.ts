/** PostgreSQL's text values to JSON-ready ones and back, the same whatever the session's settings. */

type Decode = (text: string) => unknown;

const asNumber: Decode = (text) => {
  const value = Number(text);
  // NaN and the infinities have no JSON form.
  return Number.isFinite(value) ? value : text;
};
const asBoolean: Decode = (text) => text === "t";
const asJson: Decode = (text) => JSON.parse(text);
const asText: Decode = (text) => text;

/** By type OID, with the OID of its array type. What is missing here stays text: int8 and numeric (too exact for a JSON number), dates and times, bytea (`\x…`). */
const decoders = new Map<number, Decode>([
  [16, asBoolean],
  [21, asNumber],
  [23, asNumber],
  [26, asNumber],
  [700, asNumber],
  [701, asNumber],
  [114, asJson],
  [3802, asJson],
]);

/** Array type OID → element type OID, of the types people put into arrays. */
const elementTypes = new Map<number, number>(
  [
    ...([1000, 16, 1005, 21, 1007, 23, 1028, 26, 1021, 700, 1022, 701, 199, 114, 3807, 3802] as const),
    ...([1016, 20, 1231, 1700, 1009, 25, 1015, 1043, 1014, 1042, 1002, 18, 1003, 19, 2951, 2950, 1001, 17] as const),
    ...([1115, 1114, 1185, 1184, 1182, 1082, 1183, 1083, 1270, 1266, 1187, 1186, 1041, 869, 651, 650, 143, 142] as const),
  ].flatMap((oid, index, all) => (index % 2 === 0 ? [[oid, all[index + 1] ?? 0] as const] : [])),
);

/** One value of a result, as PostgreSQL sent it in text format. */
export function decodeValue(text: string | null, typeOid: number): unknown {
  if (text === null) return null;
  const element = elementTypes.get(typeOid);
  if (element !== undefined) return decodeArray(text, decoders.get(element) ?? asText);
  return (decoders.get(typeOid) ?? asText)(text);
}

/** `{1,NULL,"a b",{…}}`, with bounds (`[2:3]={…}`) dropped. @see https://www.postgresql.org/docs/current/arrays.html#ARRAYS-IO */
function decodeArray(text: string, decode: Decode): unknown {
  let at = text.indexOf("{");
  const root: unknown[] = [];
  const open: unknown[][] = [root];
  while (at < text.length) {
    const list = open.at(-1) ?? root;
    const char = text[at];
    if (char === "{") {
      const inner: unknown[] = [];
      list.push(inner);
      open.push(inner);
      at++;
    } else if (char === "}" || char === ",") {
      if (char === "}") open.pop();
      at++;
    } else if (char === '"') {
      const end = closingQuote(text, at);
      list.push(decode(text.slice(at + 1, end).replace(/\\(.)/gs, "$1")));
      at = end + 1;
    } else {
      const end = text.slice(at).search(/[,}]/) + at;
      const item = text.slice(at, end);
      list.push(item === "NULL" ? null : decode(item));
      at = end;
    }
  }
  return root[0];
}

function closingQuote(text: string, opening: number): number {
  let at = opening + 1;
  while (text[at] !== '"') at += text[at] === "\\" ? 2 : 1;
  return at;
}

/** A parameter in text form: arrays as PostgreSQL arrays, other objects as JSON; for a JSON array pass its text. */
export function encodeValue(value: unknown): string | null {
  if (value === null || value === undefined) return null;
  if (typeof value === "string") return value;
  if (typeof value === "number" || typeof value === "bigint" || typeof value === "boolean") return String(value);
  if (value instanceof Date) return value.toISOString();
  if (value instanceof Uint8Array) return `\\x${Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("hex")}`;
  if (Array.isArray(value)) return encodeArray(value);
  return JSON.stringify(value);
}

function encodeArray(items: readonly unknown[]): string {
  const parts = items.map((item) => {
    if (item === null || item === undefined) return "NULL";
    if (Array.isArray(item)) return encodeArray(item);
    return `"${(encodeValue(item) ?? "").replace(/["\\]/g, "\\$&")}"`;
  });
  return `{${parts.join(",")}}`;
}
