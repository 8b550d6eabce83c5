/** Reads of a message too long to be kept only what its answer needs, the command's name and database, and drops the rest as it arrives. */
import { type Header, headerBytes, malformed, opCodes, type Request, readFlags, utf8, viewOf } from "./wire.ts";

/** Where the bytes come from. */
export interface Source {
  read(bytes: number): Promise<Uint8Array>;
}

const stepBytes = 16 * 1024;
const maxNameBytes = 128;
/** Commands have a dozen fields of their own; whoever sends more is not looked through to the end. */
const maxFields = 64;

/** Bytes of BSON values by type, where the type alone says; `counted` ones begin with an int32 that leaves out so many bytes. */
const fixedBytes: Readonly<Record<number, number>> = { 1: 8, 6: 0, 7: 12, 8: 1, 9: 8, 10: 0, 16: 4, 17: 8, 18: 8, 19: 16, 127: 0, 255: 0 };
const countedBytes: Readonly<Record<number, number>> = { 2: 4, 3: 0, 4: 0, 5: 5, 12: 16, 13: 4, 14: 4, 15: 0 };

/** @throws {GatewayError} protocol_violation; what `source` throws. */
export async function skimMessage(header: Header, source: Source): Promise<Request> {
  if (header.opCode !== opCodes.msg) throw malformed("long OP_QUERY");
  const rest = new Rest(source, header.length - headerBytes);
  const { checksum, moreToCome } = readFlags(viewOf(await rest.read(4)));
  const trailer = checksum ? 4 : 0;
  let found: Found | undefined;
  while (rest.left > trailer) {
    const kind = (await rest.read(1))[0];
    const size = await rest.readInt32();
    if ((kind !== 0 && kind !== 1) || size < 5 || size - 4 > rest.left - trailer) throw malformed("section");
    if (kind === 1) await rest.skip(size - 4);
    else if (found) throw malformed("two bodies");
    else found = await skimDocument(rest, size - 4);
  }
  await rest.skip(trailer);
  if (!found || found.name === "") throw malformed("no body");
  return { requestId: header.requestId, form: "msg", name: found.name, database: found.database, body: {}, wantsReply: !moreToCome };
}

interface Found {
  name: string;
  database: string;
}

/** `bytes` are those behind the document's own length. */
async function skimDocument(rest: Rest, bytes: number): Promise<Found> {
  const end = rest.left - bytes;
  const found: Found = { name: "", database: "" };
  for (let fields = 0; fields < maxFields && rest.left > end; fields++) {
    const type = (await rest.read(1))[0]!;
    if (type === 0) break;
    const name = await readName(rest);
    if (fields === 0) found.name = name;
    const size = await valueBytes(rest, type);
    if (size === undefined) break;
    if (size < 0 || size > rest.left - end) throw malformed("length of a value");
    if (name === "$db" && type === 2 && size <= maxNameBytes) found.database = utf8(await rest.read(size)).replace(/\0$/, "");
    else await rest.skip(size);
  }
  if (rest.left < end) throw malformed("length of a document");
  await rest.skip(rest.left - end);
  return found;
}

/** How much of the value is still to come; undefined for types whose length is not told. */
async function valueBytes(rest: Rest, type: number): Promise<number | undefined> {
  const counted = countedBytes[type];
  if (counted === undefined) return fixedBytes[type];
  return (await rest.readInt32()) + counted - 4;
}

async function readName(rest: Rest): Promise<string> {
  const bytes = new Uint8Array(maxNameBytes);
  for (let length = 0; length < maxNameBytes; length++) {
    const byte = (await rest.read(1))[0]!;
    if (byte === 0) return utf8(bytes.subarray(0, length));
    bytes[length] = byte;
  }
  throw malformed("name of a field");
}

/** What is left of one message. */
class Rest {
  left: number;
  readonly #source: Source;

  constructor(source: Source, left: number) {
    this.#source = source;
    this.left = left;
  }

  async read(bytes: number): Promise<Uint8Array> {
    if (bytes > this.left) throw malformed("cut short");
    this.left -= bytes;
    return await this.#source.read(bytes);
  }

  async readInt32(): Promise<number> {
    return viewOf(await this.read(4)).getInt32(0, true);
  }

  async skip(bytes: number): Promise<void> {
    for (let left = bytes; left > 0; left -= stepBytes) await this.read(Math.min(left, stepBytes));
  }
}
