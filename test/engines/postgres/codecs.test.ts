/** Message codecs: bytes written by hand, every truncation, random bodies. */
import { describe, expect, it } from "vitest";
import * as backend from "../../../engines/postgres/backend.ts";
import { BodyReader, concatBytes, MessageWriter, readUint32 } from "../../../engines/postgres/bytes.ts";
import * as frontend from "../../../engines/postgres/frontend.ts";
import { readOptions } from "../../../engines/postgres/startup-options.ts";
import { Prng } from "./support/prng.ts";

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");
const bytes = (text: string) => new Uint8Array(Buffer.from(text.replaceAll(" ", ""), "hex"));
const violation = expect.objectContaining({ kind: "protocol_violation" });

describe("bytes", () => {
  it("reads unsigned numbers from a view that does not begin at 0", () => {
    const view = bytes("00 ff ff ff ff 80 00 00 01").subarray(1);
    expect([readUint32(view, 0), readUint32(view, 4)]).toEqual([0xffffffff, 0x80000001]);
    const reader = new BodyReader(view, "Test");
    expect([reader.uint8(), reader.uint16(), reader.uint8(), reader.int32(), reader.left]).toEqual([255, 65535, 255, -2147483647, 0]);
  });

  it("throws past the end, on a missing terminator, on negative lengths and on bytes left over", () => {
    const over = (read: (reader: BodyReader) => unknown, body = "01 02 03") =>
      expect(() => read(new BodyReader(bytes(body), "Test"))).toThrow(violation);
    over((reader) => reader.uint32());
    over((reader) => reader.cstring());
    over((reader) => reader.bytes(4));
    over((reader) => reader.bytes(-1));
    over((reader) => reader.end());
    over((reader) => reader.uint8(), "");
    expect(() => new BodyReader(bytes(""), "Test").end()).not.toThrow();
  });

  it("writes frames of any size with their length filled in", () => {
    const long = "é".repeat(1000);
    const written = new MessageWriter(1).begin(0x51).cstring(long).end().begin(0).uint32(0xdeadbeef).uint16(0x1234).end().finish();
    expect(readUint32(written, 1)).toBe(2005);
    expect(hex(written.subarray(2006))).toBe("0000000adeadbeef1234");
    expect(() => new MessageWriter().cstring("a\0b")).toThrow(RangeError);
    expect(hex(concatBytes(bytes("01"), bytes(""), bytes("0203")))).toBe("010203");
  });
});

describe("frontend messages", () => {
  it("are encoded as the manual spells them", () => {
    expect(hex(frontend.encodeStartup([["user", "u"]]))).toBe("00000010000300007573657200750000");
    expect(hex(frontend.encodeSslRequest())).toBe("0000000804d2162f");
    expect(hex(frontend.encodeCancelRequest(1, bytes("0a0b0c0d")))).toBe("0000001004d2162e000000010a0b0c0d");
    expect(hex(frontend.encodeQuery("a"))).toBe("51000000066100");
    expect(hex(frontend.encodeSaslInitial("M", "xy"))).toBe("700000000c4d000000000278 79".replace(" ", ""));
    expect(hex(frontend.encodeSync())).toBe("5300000004");
    expect(hex(frontend.encodeTerminate())).toBe("5800000004");
    expect(hex(frontend.encodeCopyFail("r"))).toBe("66000000067200");
  });

  it("Parse comes back with its name and types when its SQL is replaced", () => {
    const parse = frontend.decodeParse(bytes("73 00 61 62 00 0002 00000017 00000019"));
    expect([hex(parse.statement), hex(parse.sql), hex(parse.parameterTypes)]).toEqual(["73", "6162", "00020000001700000019"]);
    expect(hex(frontend.encodeParse(parse, "c"))).toBe("500000001273006300000200000017 00000019".replace(" ", ""));
  });

  it.each<[string, (body: Uint8Array) => unknown, string]>([
    ["Parse", frontend.decodeParse, "73 00 61 62 00 0002 00000017 00000019"],
    ["ErrorResponse", backend.decodeErrorFields, "53 41 00 43 42 00 00"],
    ["ParameterStatus", backend.decodeParameterStatus, "61 00 62 00"],
    ["BackendKeyData", backend.decodeBackendKeyData, "00000001"],
    ["Authentication", backend.decodeAuthentication, "0000000a"],
  ])("%s is refused at every truncation", (_, decode, whole) => {
    const body = bytes(whole);
    expect(() => decode(body)).not.toThrow();
    for (let cut = 0; cut < body.length; cut++) expect(() => decode(body.subarray(0, cut)), `cut at ${cut}`).toThrow(violation);
  });

  it.each([
    ["Parse", frontend.decodeParse, "00 00 0000 ff"],
    ["Parse with too many types", frontend.decodeParse, "00 00 ffff 00000001"],
    ["ParameterStatus", backend.decodeParameterStatus, "61 00 62 00 00"],
  ] as const)("%s with something left over is refused", (_, decode, body) => expect(() => decode(bytes(body))).toThrow(violation));

  it("throw nothing but a refusal on random bodies", () => {
    const decoders = [frontend.decodeParse, backend.decodeErrorFields];
    for (let seed = 0; seed < 5000; seed++) {
      const random = new Prng(seed);
      const body = Uint8Array.from({ length: random.int(30) }, () => random.pick([0, 0, 1, 65, 255]));
      for (const decode of [...decoders, backend.decodeParameterStatus, backend.decodeBackendKeyData, backend.decodeAuthentication]) {
        try {
          decode(body);
        } catch (error) {
          expect(error).toEqual(violation);
        }
      }
    }
  });
});

describe("backend messages", () => {
  it("are encoded as the manual spells them", () => {
    expect(hex(backend.encodeReadyForQuery(0x49))).toBe("5a0000000549");
    expect(hex(backend.encodeAuthenticationOk())).toBe("520000000800000000");
    expect(hex(backend.encodeAuthenticationSasl(["A", "B"]))).toBe("520000000d0000000a4100420000");
    expect(hex(backend.encodeAuthenticationSaslData(11, "x"))).toBe("52000000090000000b78");
    expect(hex(backend.encodeParameterStatus("a", "b"))).toBe("530000000861006200");
    expect(hex(backend.encodeBackendKeyData(1, bytes("0a0b0c0d")))).toBe("4b0000000c000000010a0b0c0d");
    expect(hex(backend.encodeNegotiateProtocolVersion(2, ["_pq_.x"]))).toBe("760000001300030002000000015f70715f2e7800");
  });

  it("an ErrorResponse comes back field by field, NULs in its text taken out", () => {
    const frame = backend.encodeErrorResponse({ severity: "FATAL", sqlstate: "28P01", message: "a\0b", detail: "d", hint: "h" });
    expect(Object.fromEntries(backend.decodeErrorFields(frame.subarray(5)))).toEqual({ S: "FATAL", V: "FATAL", C: "28P01", M: "ab", D: "d", H: "h" });
  });

  it("the mechanisms of AuthenticationSASL are read", () => {
    expect(backend.decodeMechanisms(bytes("4100 4200 00"))).toEqual(["A", "B"]);
    expect(backend.decodeMechanisms(bytes(""))).toEqual([]);
  });
});

describe("startup options", () => {
  it.each<[string, Record<string, string>]>([
    ["", {}],
    ["   ", {}],
    ["-c a=b", { a: "b" }],
    ["-ca=b --c-d=e", { a: "b", c_d: "e" }],
    ["-c\ta=b\n-c\vc=d", { a: "b", c: "d" }],
    ["-c a=b\\ c", { a: "b c" }],
    ["-c a=\\\\x", { a: "\\x" }],
    ["-c a=b -c a=c", { a: "c" }],
    ["-c a=", { a: "" }],
    ["-c a=b=c", { a: "b=c" }],
    ["--search_path=a,b\\,c", { search_path: "a,b,c" }],
    ["-c my.setting=1", { "my.setting": "1" }],
    ["-c a=b\\", { a: "b" }],
    ["-c __proto__=x", JSON.parse('{"__proto__":"x"}')],
  ])("%j", (options, expected) => expect([...readOptions(options)]).toEqual(Object.entries(expected)));

  it.each([
    "-c",
    "-c a",
    "-c =b",
    "--",
    "--a",
    "-d",
    "a=b",
    "-c a b=c",
    "-c 1a=b",
    '-c "a"=b',
    "-c a;b=c",
    "-c user=x",
    "-cDATABASE=x",
    "--options=-crole=x",
    "-c\u00a0a=b",
  ])("%j is refused", (options) => expect(() => readOptions(options)).toThrow(violation));

  it("a megabyte of blanks or backslashes is read in one go", () => {
    expect(readOptions(" ".repeat(1_000_000)).size).toBe(0);
    expect(readOptions(`-c a=${"\\\\".repeat(500_000)}`).get("a")).toHaveLength(500_000);
  });
});
