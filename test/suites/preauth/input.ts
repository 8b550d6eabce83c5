/** What the pre-authentication fuzz plays: a client's bytes in steps, mutated from kept ones, with places for what only the server can say. */
import type { Prng } from "../../engines/postgres/support/prng.ts";

/** One write of the client's, after which everything is let run. */
export type Input = readonly Uint8Array[];

/** Replaced by the server's nonce once it is known: without it no input gets behind the first SASL message. */
export const nonceMark: Uint8Array = Buffer.from("\u00ff{nonce}\u00ff", "latin1");

/** Boundaries of every length and count there is in front of a login. */
const numbers = [0, 1, 2, 3, 4, 5, 7, 8, 9, 16, 64, 65, 232, 256, 257, 536, 1024, 1028, 1029, 9_999, 10_000, 10_001, 16_384, 65_535, 65_536];
const wide = [0x3fffffff, 0x40000000, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff, 196608, 196609, 196610, 131072, 80877102, 80877103, 80877104];
const words = [
  "user\0",
  "database\0",
  "options\0",
  "replication\0",
  "_pq_.x\0",
  "__proto__\0",
  "-c a=b ",
  "\\ ",
  "n,,",
  "y,,",
  "p=tls-server-end-point,,",
  "p=tls-unique,,",
  "n=,r=",
  ",m=x",
  "c=biws",
  "c=",
  ",p=",
  "SCRAM-SHA-256\0",
  "SCRAM-SHA-256-PLUS\0",
  "PROXY TCP4 ",
  "PROXY UNKNOWN\r\n",
  "127.0.0.1",
  "::ffff:10.0.0.1",
  "\r\n",
  "\r\n\r\n\0\r\nQUIT\n",
  "GET / HTTP/1.1\r\n",
  "\x16\x03\x01",
  "\0",
];

/** A few changes to an input, or to two of them. */
export function mutate(base: Input, other: Input, random: Prng): Input {
  let steps: Buffer[] = base.map((step) => Buffer.from(step));
  for (let changes = 1 + random.int(4); changes > 0; changes--) {
    const at = random.int(steps.length);
    switch (random.int(8)) {
      case 0: // a step more, or again
        steps.splice(at, 0, Buffer.from(random.pick(random.chance(0.5) ? steps : other)));
        break;
      case 1: // a step less
        if (steps.length > 1) steps.splice(at, 1);
        break;
      case 2: // the beginning of one, the end of the other
        steps = [...steps.slice(0, at), ...other.slice(random.int(other.length)).map((step) => Buffer.from(step))];
        if (steps.length === 0) steps = [Buffer.alloc(0)];
        break;
      case 3: // glued together
        if (at + 1 < steps.length) steps.splice(at, 2, Buffer.concat([steps[at]!, steps[at + 1]!]));
        break;
      default:
        steps[at] = mutateBytes(steps[at]!, random);
    }
  }
  return steps.slice(0, 12).map((step) => step.subarray(0, 20_000));
}

function mutateBytes(bytes: Buffer, random: Prng): Buffer {
  const at = random.int(bytes.length + 1);
  const copy = Buffer.from(bytes);
  switch (random.int(8)) {
    case 0:
      if (at < copy.length) copy[at] = copy[at]! ^ (1 << random.int(8));
      return copy;
    case 1:
      if (at < copy.length) copy[at] = random.int(256);
      return copy;
    case 2:
      if (at + 4 <= copy.length) copy.writeUInt32BE(random.pick(random.chance(0.5) ? numbers : wide) >>> 0, at);
      return copy;
    case 3: // a length that fits what there is
      if (at + 4 <= copy.length) copy.writeUInt32BE(copy.length - at, at);
      return copy;
    case 4:
      return Buffer.concat([copy.subarray(0, at), Buffer.from(random.pick(words), "latin1"), copy.subarray(at)]);
    case 5:
      return Buffer.concat([copy.subarray(0, at), copy.subarray(Math.min(copy.length, at + 1 + random.int(16)))]);
    case 6:
      return Buffer.concat([copy.subarray(0, at), Buffer.alloc(random.pick(numbers) % 12_000, random.int(256)), copy.subarray(at)]);
    default:
      return copy.subarray(0, at);
  }
}

/** One input a line: hexadecimal steps with a blank between, behind a name. */
export function parseCorpus(text: string): Input[] {
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  return lines.map((line) =>
    line
      .split(" ")
      .slice(1)
      .map((step) => Buffer.from(step, "hex")),
  );
}

export function formatInput(name: string, input: Input): string {
  return [name, ...input.map((step) => Buffer.from(step).toString("hex") || "00")].join(" ");
}
