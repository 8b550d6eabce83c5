/** Reads Redis commands: arrays of bulk strings and inline lines, within bounds that the caller sets. */
import { GatewayError } from "../../core/errors.ts";
import type { PipeReader } from "../../core/pipe-reader.ts";

export interface CommandLimits {
  /** Arguments of one command, its name included. */
  readonly args: number;
  /** Bytes of one command's arguments together. */
  readonly bytes: number;
}

/** Before a client has proven itself nothing but a log-in is to be expected. */
export const beforeLogin: CommandLimits = { args: 64, bytes: 16 * 1024 };
/** Redis's own limits: a command that is going to be refused must still be read to its end. */
export const afterLogin: CommandLimits = { args: 1_048_576, bytes: 512 * 1024 * 1024 };

export interface Command {
  /** The first arguments, as text and cut short: enough for any command that is answered here. */
  readonly args: readonly string[];
  /** How many there were. */
  readonly count: number;
}

const keptArgs = 64;
const keptBytes = 4 * 1024;
const maxInlineBytes = 1024;
/** `*1048576` or `$536870912`, CR LF and some room. */
const maxHeaderBytes = 32;
const lineFeed = 0x0a;
const decoder = new TextDecoder();

/**
 * The next command; one without arguments for an empty line or array, which Redis answers with nothing.
 * @throws {GatewayError} protocol_violation in Redis's words; {PipeClosedError}; the signal's reason.
 */
export async function readCommand(reader: PipeReader, limits: CommandLimits): Promise<Command> {
  const isArray = (await reader.peek(1))[0] === 0x2a;
  const line = await readLine(reader, isArray ? maxHeaderBytes : maxInlineBytes, isArray ? "too big mbulk count string" : "too big inline request");
  if (isArray) return readArray(reader, line.slice(1), limits);
  const args = splitInline(line);
  if (args.length > limits.args) throw violation("too many arguments in inline request");
  return { args, count: args.length };
}

async function readArray(reader: PipeReader, countText: string, limits: CommandLimits): Promise<Command> {
  const count = readInteger(countText);
  if (count === undefined || count > limits.args) throw violation("invalid multibulk length");
  const args: string[] = [];
  let left = limits.bytes;
  for (let i = 0; i < count; i++) {
    const line = await readLine(reader, maxHeaderBytes, "too big bulk count string");
    if (line[0] !== "$") throw violation(`expected '$', got '${printable(line.slice(0, 1))}'`);
    const length = readInteger(line.slice(1));
    if (length === undefined || length < 0 || length > left) throw violation("invalid bulk length");
    left -= length;
    const kept = i < keptArgs ? Math.min(length, keptBytes) : 0;
    const value = await reader.read(kept);
    if (i < keptArgs) args.push(decoder.decode(value));
    await skip(reader, length - kept);
    const end = await reader.read(2);
    if (end[0] !== 0x0d || end[1] !== lineFeed) throw violation("expected CR LF behind a bulk string");
  }
  return { args, count: Math.max(0, count) };
}

/** The text up to the next LF, without it and a CR before it. */
async function readLine(reader: PipeReader, maxBytes: number, tooLong: string): Promise<string> {
  let looked = 0;
  for (;;) {
    const bytes = await reader.peek(Math.min(maxBytes, Math.max(reader.buffered, looked + 1)));
    const end = bytes.indexOf(lineFeed, looked);
    if (end >= 0) {
      const line = await reader.read(end + 1);
      return decoder.decode(line.subarray(0, line[end - 1] === 0x0d ? end - 1 : end));
    }
    looked = bytes.length;
    if (looked >= maxBytes) throw violation(tooLong);
  }
}

async function skip(reader: PipeReader, bytes: number): Promise<void> {
  for (let left = bytes; left > 0; ) {
    const part = Math.min(left, Math.max(1, reader.buffered), keptBytes);
    await reader.read(part);
    left -= part;
  }
}

/** A canonical integer as Redis takes it: no sign but minus, no leading zeros. */
function readInteger(text: string): number | undefined {
  return /^(0|-?[1-9]\d{0,9})$/.test(text) ? Number(text) : undefined;
}

/** Words between spaces; in "double quotes" with backslash escapes, or in 'single quotes'. */
function splitInline(line: string): string[] {
  const args: string[] = [];
  const word = /\s*(?:"((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|([^\s"']+))(?=\s|$)|\s*$/y;
  while (word.lastIndex < line.length) {
    const found = word.exec(line);
    if (!found) throw violation("unbalanced quotes in request");
    const [whole, double, single, bare] = found;
    if (double !== undefined) args.push(readEscapes(double));
    else if (single !== undefined) args.push(single.replaceAll("\\'", "'"));
    else if (bare !== undefined) args.push(bare);
    if (whole === "") break;
  }
  return args;
}

const escapes: Readonly<Record<string, string>> = { n: "\n", r: "\r", t: "\t", b: "\b", a: "\x07" };

function readEscapes(text: string): string {
  return text.replace(/\\(?:x([0-9a-fA-F]{2})|(.))/g, (_, hex: string | undefined, letter: string) =>
    hex === undefined ? (escapes[letter] ?? letter) : String.fromCharCode(Number.parseInt(hex, 16)),
  );
}

/** Client text for a message: one line, without control or formatting characters. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "?").slice(0, 63);
}

function violation(text: string): GatewayError {
  return new GatewayError("protocol_violation", `Protocol error: ${text}`);
}
