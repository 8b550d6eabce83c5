/** MySQL's packets made and read by hand, apart from the code under test. */

export const sslBit = 0x800;
/** PROTOCOL_41, SECURE_CONNECTION, PLUGIN_AUTH: what every client of today sets. */
export const modern = 0x200 | 0x8000 | 0x80000;

export function packet(number: number, ...parts: readonly (Uint8Array | string)[]): Buffer {
  const body = Buffer.concat(parts.map((part) => Buffer.from(part as string)));
  const head = Buffer.alloc(4);
  head.writeUIntLE(body.length, 0, 3);
  head[3] = number;
  return Buffer.concat([head, body]);
}

export interface Packet {
  readonly number: number;
  readonly body: Buffer;
}

/** @throws Error when bytes are left over. */
export function splitPackets(bytes: Buffer): Packet[] {
  const packets: Packet[] = [];
  let at = 0;
  while (at < bytes.length) {
    const end = at + 4 + bytes.readUIntLE(at, 3);
    if (end > bytes.length) throw new Error("a packet is cut short");
    packets.push({ number: bytes[at + 3]!, body: bytes.subarray(at + 4, end) });
    at = end;
  }
  return packets;
}

function opening(capabilities: number): Buffer {
  const head = Buffer.alloc(32);
  head.writeUInt32LE(capabilities, 0);
  head.writeUInt32LE(16_777_216, 4);
  head[8] = 45;
  return head;
}

export function sslRequest(capabilities = modern): Buffer {
  return packet(1, opening(capabilities | sslBit));
}

export interface ResponseFields {
  readonly user: string;
  readonly database?: string;
  /** Default: caching_sha2_password; null for a client that knows no plugins. */
  readonly plugin?: string | null;
  readonly token?: Uint8Array;
  readonly capabilities?: number;
}

/** The payload of a HandshakeResponse41. */
export function responseBody({
  user,
  database,
  plugin = "caching_sha2_password",
  token = Buffer.alloc(32, 9),
  capabilities = modern,
}: ResponseFields): Buffer {
  const flags = (plugin === null ? capabilities & ~0x80000 : capabilities) | (database === undefined ? 0 : 8);
  return Buffer.concat([
    opening(flags),
    Buffer.from(`${user}\0`),
    Buffer.of(token.length),
    token,
    Buffer.from(database === undefined ? "" : `${database}\0`),
    Buffer.from(plugin === null ? "" : `${plugin}\0`),
  ]);
}

export interface ErrorPacket {
  readonly number: number;
  readonly code: number;
  readonly state: string;
  readonly message: string;
}

/** @returns undefined when it is no ERR. */
export function readError({ number, body }: Packet): ErrorPacket | undefined {
  if (body[0] !== 0xff) return undefined;
  const text = body.toString("utf8", 3);
  return { number, code: body.readUInt16LE(1), state: text.slice(1, 6), message: text.slice(6) };
}

/** First columns of a text result set's rows, numbering checked. @throws Error when it is none. */
export function readColumn(packets: readonly Packet[]): (string | null)[] {
  const [count, ...rest] = packets;
  if (!count || packets.some(({ number }, at) => number !== at + 1)) throw new Error("not a result set");
  const [afterColumns, last] = [rest[count.body[0]!], rest.at(-1)];
  if (afterColumns?.body[0] !== 0xfe || last?.body[0] !== 0xfe) throw new Error("EOF is missing");
  return rest.slice(count.body[0]! + 1, -1).map(({ body }) => (body[0] === 0xfb ? null : body.toString("utf8", 1, 1 + body[0]!)));
}
