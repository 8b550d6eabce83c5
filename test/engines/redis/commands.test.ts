/** Redis's command syntax: arrays and inline lines, every cut, every bound, and junk. */
import { describe, expect, it } from "vitest";
import { pipePair } from "../../../core/byte-pipe.ts";
import { GatewayError } from "../../../core/errors.ts";
import { PipeClosedError, PipeReader } from "../../../core/pipe-reader.ts";
import { afterLogin, beforeLogin, type CommandLimits, readCommand } from "../../../engines/redis/commands.ts";
import { Prng } from "../postgres/support/prng.ts";
import { respCommand as resp } from "../support/openings.ts";

/** Commands read from `pieces`, and what ended the reading. */
async function readAll(pieces: readonly (Uint8Array | string)[], limits: CommandLimits = beforeLogin) {
  const [near, far] = pipePair();
  const reader = new PipeReader(far, 32 * 1024, new AbortController().signal);
  for (const piece of pieces) near.write(Buffer.from(piece as string));
  near.end();
  const commands: (readonly string[])[] = [];
  for (;;) {
    try {
      commands.push((await readCommand(reader, limits)).args);
    } catch (error) {
      return { commands, error, message: error instanceof GatewayError ? error.message : undefined };
    }
  }
}

describe("redis: reading commands", () => {
  it.each<[string, string, readonly (readonly string[])[]]>([
    ["an array", "*2\r\n$3\r\nGET\r\n$1\r\na\r\n", [["GET", "a"]]],
    ["empty arguments", "*2\r\n$0\r\n\r\n$0\r\n\r\n", [["", ""]]],
    ["line breaks in arguments", "*1\r\n$4\r\na\r\nb\r\n", [["a\r\nb"]]],
    ["no arguments", "*0\r\n*-1\r\n*1\r\n$1\r\na\r\n", [[], [], ["a"]]],
    ["an inline line", "GET  a\tb \r\n", [["GET", "a", "b"]]],
    ["an inline line without CR", "PING\n\r\n\n", [["PING"], [], []]],
    ["quotes", `set "a b\\n\\x41\\"" 'c d\\'' e\r\n`, [["set", 'a b\nA"', "c d'", "e"]]],
    ["one after another", "PING\r\n*1\r\n$4\r\nPING\r\nPING\r\n", [["PING"], ["PING"], ["PING"]]],
    ["a byte that is no UTF-8", "*1\r\n$1\r\n\xff\r\n", [["\ufffd"]]],
  ])("reads %s at every cut", async (_, text, expected) => {
    const bytes = Buffer.from(text, "latin1");
    for (let cut = 0; cut <= bytes.length; cut++) {
      const { commands, error } = await readAll([bytes.subarray(0, cut), bytes.subarray(cut)]);
      expect(commands).toEqual(expected);
      expect(error).toBeInstanceOf(PipeClosedError);
    }
    expect((await readAll([...bytes].map((byte) => Uint8Array.of(byte)))).commands).toEqual(expected);
  });

  it("takes nothing that is cut short for a command", async () => {
    const bytes = resp("AUTH", "cache", "secret");
    for (let cut = 0; cut < bytes.length; cut++) {
      const { commands, error } = await readAll([bytes.subarray(0, cut)]);
      expect(commands).toEqual([]);
      expect(error).toBeInstanceOf(PipeClosedError);
    }
  });

  it.each([
    ["too many arguments", "*65\r\n", "invalid multibulk length"],
    ["a count that is none", "*x\r\n", "invalid multibulk length"],
    ["a count with a sign", "*+1\r\n", "invalid multibulk length"],
    ["a count beyond int32", "*99999999999\r\n", "invalid multibulk length"],
    ["a count without end", `*${"1".repeat(40)}`, "too big mbulk count string"],
    ["no bulk string", "*1\r\n:1\r\n", "expected '$', got ':'"],
    ["a control character for a bulk string", "*1\r\n\x01\r\n", "expected '$', got '?'"],
    ["a length below zero", "*1\r\n$-1\r\n", "invalid bulk length"],
    ["a length of 16 KiB and one", "*1\r\n$16385\r\n", "invalid bulk length"],
    ["lengths that only together are too much", `*3\r\n$9000\r\n${"x".repeat(9000)}\r\n$9000\r\n`, "invalid bulk length"],
    ["a length that lies", "*1\r\n$3\r\nPINGPING\r\n", "expected CR LF behind a bulk string"],
    ["a length without end", `*1\r\n$${"0".repeat(40)}`, "too big bulk count string"],
    ["an inline line too long", "x".repeat(1025), "too big inline request"],
    ["65 words", `${"a ".repeat(65)}\r\n`, "too many arguments in inline request"],
    ["open quotes", `set "a\r\n`, "unbalanced quotes in request"],
    ["quotes in a word", `set a"b"\r\n`, "unbalanced quotes in request"],
  ])("refuses %s on what it has seen", async (_, text, told) => {
    expect((await readAll([text])).message).toBe(`Protocol error: ${told}`);
  });

  it("takes what is just within the bounds", async () => {
    expect((await readAll([resp(...Array.from({ length: 64 }, () => "a"))])).commands[0]).toHaveLength(64);
    expect((await readAll([resp("AUTH", "x".repeat(16_380))])).commands).toHaveLength(1);
    expect((await readAll([`${"x".repeat(1022)}\r\n`])).commands).toHaveLength(1);
    expect((await readAll([resp("SET", "x".repeat(100_000))], afterLogin)).commands[0]?.[1]).toHaveLength(4096);
  });

  it("ends on junk with a refusal or the end of the bytes, nothing else", async () => {
    const random = new Prng(3);
    const valid = [resp("HELLO", "3", "AUTH", "u", "p"), resp("SET", "k", "v".repeat(300)), Buffer.from(`set "a b" 'c'\r\n`), Buffer.from("*0\r\n")];
    for (let i = 0; i < 20_000; i++) {
      const bytes = Uint8Array.from(Buffer.concat([random.pick(valid), random.pick(valid), random.bytes(random.int(20))]));
      for (let n = random.int(4); n > 0; n--) bytes[random.int(bytes.length)] = random.pick([random.int(256), 0x0d, 0x0a, 0x24, 0x2a, 0x30, 0x39]);
      const { error } = await readAll(random.cut(bytes), random.pick([beforeLogin, afterLogin]));
      if (!(error instanceof PipeClosedError)) expect(error).toMatchObject({ kind: "protocol_violation" });
    }
  });
});
