/** MySQL's packets: bytes written by hand, every truncation, random input. */
import { describe, expect, test } from "vitest";
import { GatewayError } from "../../../core/errors.ts";
import { PayloadReader, PayloadWriter } from "../../../engines/mysql/bytes.ts";
import {
  decodeHandshakeResponse,
  decodePassword,
  encodeAuthSwitch,
  encodeGreeting,
  isSslRequest,
  makeNonce,
} from "../../../engines/mysql/handshake.ts";
import { encodeError, encodeResultSet, ok } from "../../../engines/mysql/replies.ts";
import { Prng } from "../postgres/support/prng.ts";
import { modern, responseBody, sslRequest } from "./support/wire.ts";

const nonce = Buffer.from("abcdefghijklmnopqrst");

describe("greeting", () => {
  test("is HandshakeV10, byte for byte", () => {
    const expected = Buffer.concat([
      Buffer.from("\x0a8.4.0-tenantry\0"),
      Buffer.from([7, 0, 0, 0]),
      Buffer.from("abcdefgh\0"),
      // 0x3fa30f | SSL: no compression, no session tracking, EOF packets as of old
      Buffer.from([0x0f, 0xaf, 45, 2, 0, 0x3f, 0x00, 21]),
      Buffer.alloc(10),
      Buffer.from("ijklmnopqrst\0"),
      Buffer.from("caching_sha2_password\0"),
    ]);
    expect(Buffer.from(encodeGreeting(7, nonce, true)).toString("latin1")).toBe(expected.toString("latin1"));
  });

  test("does not offer TLS where there is none", () => {
    const at = "\x0a8.4.0-tenantry\0".length + 4 + 9;
    expect(Buffer.from(encodeGreeting(7, nonce, false)).readUInt16LE(at) & 0x800).toBe(0);
  });

  test("has a nonce of letters and digits, whatever the random bytes", () => {
    const all = Uint8Array.from({ length: 256 }, (_, at) => at);
    expect(Buffer.from(makeNonce(all)).toString("latin1")).toMatch(/^[A-Za-z0-9./]{256}$/);
  });
});

describe("HandshakeResponse41", () => {
  test("as mysql2 sends it: length-encoded token, database, plugin, attributes", () => {
    const body = Buffer.concat([
      Buffer.from([0x8d, 0xa2, 0x3b, 0x00, 0, 0, 0, 1, 45]),
      Buffer.alloc(23),
      Buffer.from("tdb_2abf90d3\0\x04tokn"),
      Buffer.from("shop_workspace\0caching_sha2_password\0"),
      Buffer.from("\x0d\x03_os\x05Linux"),
    ]);
    expect(decodeHandshakeResponse(body)).toEqual({
      user: "tdb_2abf90d3",
      token: Buffer.from("tokn"),
      database: "shop_workspace",
      plugin: "caching_sha2_password",
    });
  });

  test.each([
    ["no database", { user: "u" }, { database: "", plugin: "caching_sha2_password" }],
    ["an empty database", { user: "u", database: "" }, { database: "", plugin: "caching_sha2_password" }],
    ["another plugin", { user: "u", plugin: "mysql_native_password" }, { plugin: "mysql_native_password" }],
    ["no name of a plugin", { user: "u", plugin: "" }, { plugin: "" }],
    ["no plugins", { user: "u", plugin: null, database: "d" }, { plugin: undefined, database: "d" }],
    ["an empty token", { user: "u", token: new Uint8Array(0) }, { token: new Uint8Array(0) }],
  ])("with %s", (_, fields, expected) => {
    const { token, ...rest } = decodeHandshakeResponse(responseBody(fields));
    expect({ ...rest, token: Uint8Array.from(token) }).toMatchObject(expected);
  });

  test("the last field may lack its NUL", () => {
    expect(decodeHandshakeResponse(responseBody({ user: "u", plugin: null, database: "shop" }).subarray(0, -1)).database).toBe("shop");
  });

  test("cut short anywhere before its last field is refused", () => {
    const whole = responseBody({ user: "somebody", database: "shop", plugin: null });
    for (let length = 0; length < whole.length - "shop\0".length; length++) {
      expect(() => decodeHandshakeResponse(whole.subarray(0, length)), `${length} bytes`).toThrow(GatewayError);
    }
  });

  test("of a client older than 4.1 is refused", () => {
    expect(() => decodeHandshakeResponse(responseBody({ user: "u", capabilities: modern & ~0x200 }))).toThrow("older than MySQL 4.1");
  });

  test("random bytes are decoded or refused, nothing else", () => {
    for (let seed = 0; seed < 3000; seed++) {
      const prng = new Prng(seed);
      const bytes = Buffer.concat([responseBody({ user: "u", database: "d" }).subarray(0, prng.int(60)), prng.bytes(prng.int(90))]);
      try {
        const { user, database } = decodeHandshakeResponse(bytes);
        expect(typeof user + typeof database).toBe("stringstring");
      } catch (error) {
        expect(error, `seed ${seed}`).toBeInstanceOf(GatewayError);
      }
    }
  });
});

describe("SSLRequest", () => {
  test("is 32 bytes with the SSL bit", () => {
    const body = sslRequest().subarray(4);
    expect(isSslRequest(body)).toBe(true);
    expect(isSslRequest(Buffer.concat([body, Buffer.of(0)]))).toBe(false);
    expect(isSslRequest(Buffer.alloc(32))).toBe(false);
    expect(isSslRequest(body.subarray(0, 31))).toBe(false);
  });
});

describe("passwords", () => {
  test("end with one NUL", () => {
    expect(decodePassword(Buffer.from("geheim ü\0"))).toBe("geheim ü");
    for (const wrong of ["", "open", "a\0b\0", "a\0b"]) expect(() => decodePassword(Buffer.from(wrong))).toThrow(GatewayError);
  });

  test("are asked for by another plugin once", () => {
    expect(Buffer.from(encodeAuthSwitch(nonce)).toString("latin1")).toBe("\xfecaching_sha2_password\0abcdefghijklmnopqrst\0");
  });
});

describe("replies", () => {
  test("OK and ERR, byte for byte", () => {
    expect(Buffer.from(ok).toString("hex")).toBe("00000002000000");
    const error = encodeError({ code: 1049, state: "42000", message: "no ü" });
    expect(Buffer.from(error).toString("latin1")).toBe("\xff\x19\x04#42000no \xc3\xbc");
  });

  test("a result set, byte for byte", () => {
    const packets = encodeResultSet({
      columns: ["n", "t"],
      rows: [
        [1, null],
        [23, "x"],
      ],
    }).map((each) => Buffer.from(each).toString("latin1"));
    expect(packets).toEqual([
      "\x02",
      "\x03def\0\0\0\x01n\0\x0c\x3f\0\x14\0\0\0\x08\x80\0\0\0\0",
      "\x03def\0\0\0\x01t\0\x0c\x2d\0\0\x04\0\0\xfd\0\0\0\0\0",
      "\xfe\0\0\x02\0",
      "\x011\xfb",
      "\x0223\x01x",
      "\xfe\0\0\x02\0",
    ]);
  });

  test.each([0, 250, 251, 65_535, 65_536, 1_000_000])("lengths come back as they were written: %i", (length) => {
    const written = new PayloadWriter().lenenc(length).finish();
    expect(written.length).toBe(length < 251 ? 1 : length < 65_536 ? 3 : 4);
    if (length > 65_535) return;
    const body = Buffer.concat([written, Buffer.alloc(length, 1)]);
    expect(new PayloadReader(body, "test").lenencBytes().length).toBe(length);
    if (length > 0) expect(() => new PayloadReader(body.subarray(0, -1), "test").lenencBytes()).toThrow(GatewayError);
  });
});
