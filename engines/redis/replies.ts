/** Redis replies, in RESP2 and RESP3. */
const encoder = new TextEncoder();

/** The version of the protocol a client speaks: 2 until HELLO 3. */
export type RespVersion = 2 | 3;

/** One line: `-CODE text`. A line break in the text would start another reply, so there is none. */
export function errorReply(code: string, text: string): Uint8Array {
  return encoder.encode(`-${code} ${text.replace(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, " ").slice(0, 1024)}\r\n`);
}

export function statusReply(text: string): Uint8Array {
  return encoder.encode(`+${text}\r\n`);
}

export function integerReply(value: number): Uint8Array {
  return encoder.encode(`:${value}\r\n`);
}

export function bulkReply(value: string): Uint8Array {
  return encoder.encode(bulk(value));
}

export function nullReply(version: RespVersion): Uint8Array {
  return encoder.encode(version === 3 ? "_\r\n" : "$-1\r\n");
}

export function emptyMapReply(version: RespVersion): Uint8Array {
  return encoder.encode(version === 3 ? "%0\r\n" : "*0\r\n");
}

export function emptyArrayReply(): Uint8Array {
  return encoder.encode("*0\r\n");
}

/** What HELLO answers: a map, or in RESP2 its keys and values in one array. */
export function helloReply(version: RespVersion, clientId: number): Uint8Array {
  const fields = [
    [bulk("server"), bulk("redis")],
    [bulk("version"), bulk("7.2.0")],
    [bulk("proto"), `:${version}\r\n`],
    [bulk("id"), `:${clientId}\r\n`],
    [bulk("mode"), bulk("standalone")],
    [bulk("role"), bulk("master")],
    [bulk("modules"), "*0\r\n"],
  ];
  const head = version === 3 ? `%${fields.length}` : `*${fields.length * 2}`;
  return encoder.encode(`${head}\r\n${fields.flat().join("")}`);
}

function bulk(value: string): string {
  return `$${encoder.encode(value).length}\r\n${value}\r\n`;
}
