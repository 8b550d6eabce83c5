/** The packets of a login: greeting, SSLRequest, HandshakeResponse41, AuthSwitchRequest, AuthMoreData. */
import { GatewayError } from "../../core/errors.ts";
import { PayloadReader, PayloadWriter } from "./bytes.ts";

/** @see https://dev.mysql.com/doc/dev/mysql-server/latest/group__group__cs__capabilities__flags.html */
export const capability = {
  longPassword: 0x1,
  foundRows: 0x2,
  longFlag: 0x4,
  connectWithDatabase: 0x8,
  ignoreSpace: 0x100,
  protocol41: 0x200,
  interactive: 0x400,
  ssl: 0x800,
  transactions: 0x2000,
  secureConnection: 0x8000,
  multiStatements: 0x10000,
  multiResults: 0x20000,
  preparedMultiResults: 0x40000,
  pluginAuth: 0x80000,
  connectAttributes: 0x100000,
  lenencAuthData: 0x200000,
} as const;

/** No compression, and nothing that changes the shape of answers or of queries: one shape is enough here. */
const offered = Object.values(capability).reduce((all, bit) => all | bit, 0);

/** New enough that connectors ask for the variables of today's MySQL. */
export const serverVersion = "8.4.0-tenantry";
export const authPlugin = "caching_sha2_password";
/** utf8mb4_general_ci, which every client knows. */
export const utf8mb4 = 45;
export const statusAutocommit = 2;
export const nonceBytes = 20;

const nonceAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789./";

/** Letters and digits only: Connector/J reads the nonce as ASCII text, and a NUL would end it. */
export function makeNonce(random: Uint8Array): Uint8Array {
  return random.map((byte) => nonceAlphabet.charCodeAt(byte & 63));
}

/** HandshakeV10. `nonce` is of 20 bytes. */
export function encodeGreeting(threadId: number, nonce: Uint8Array, tls: boolean): Uint8Array {
  const capabilities = tls ? offered : offered & ~capability.ssl;
  return new PayloadWriter()
    .uint8(10)
    .cstring(serverVersion)
    .uint32(threadId)
    .bytes(nonce.subarray(0, 8))
    .uint8(0)
    .uint16(capabilities)
    .uint8(utf8mb4)
    .uint16(statusAutocommit)
    .uint16(capabilities >>> 16)
    .uint8(nonceBytes + 1)
    .zeros(10)
    .bytes(nonce.subarray(8))
    .uint8(0)
    .cstring(authPlugin)
    .finish();
}

/** SSLRequest is the first 32 bytes of a HandshakeResponse41 with the SSL bit set, and nothing behind them. */
export function isSslRequest(payload: Uint8Array): boolean {
  return payload.length === 32 && (payload[1]! & (capability.ssl >>> 8)) !== 0;
}

export interface HandshakeResponse {
  readonly user: string;
  /** An answer to the nonce by the plugin named; empty for an empty password. */
  readonly token: Uint8Array;
  /** "" when none is named. */
  readonly database: string;
  /** Undefined when the client knows no plugins. */
  readonly plugin: string | undefined;
}

/** uint32 capabilities · uint32 max packet · uint8 charset · 23 zeros · user NUL · token · [database NUL] · [plugin NUL] · [attributes]. */
export function decodeHandshakeResponse(payload: Uint8Array): HandshakeResponse {
  const reader = new PayloadReader(payload, "HandshakeResponse");
  const capabilities = reader.uint32();
  const has = (bit: number) => (capabilities & bit) !== 0;
  if (!has(capability.protocol41)) throw new GatewayError("protocol_violation", "the client speaks a protocol older than MySQL 4.1");
  reader.bytes(4 + 1 + 23);
  const user = reader.cstring();
  const token = has(capability.lenencAuthData)
    ? reader.lenencBytes()
    : has(capability.secureConnection)
      ? reader.bytes(reader.uint8())
      : new TextEncoder().encode(reader.cstring());
  const database = has(capability.connectWithDatabase) && reader.left > 0 ? reader.lastCstring() : "";
  const plugin = has(capability.pluginAuth) ? (reader.left > 0 ? reader.lastCstring() : "") : undefined;
  return { user, token, database, plugin };
}

/** Asks the client to start again with this plugin and nonce. */
export function encodeAuthSwitch(nonce: Uint8Array): Uint8Array {
  return new PayloadWriter().uint8(0xfe).cstring(authPlugin).bytes(nonce).uint8(0).finish();
}

/** AuthMoreData 04, "perform full authentication": inside TLS the client sends the password, ended by NUL. */
export const askForPassword: Uint8Array = Uint8Array.of(0x01, 0x04);

/** The password, its NUL taken off. @throws {GatewayError} protocol_violation without the NUL, or with more than one. */
export function decodePassword(payload: Uint8Array): string {
  const reader = new PayloadReader(payload, "password");
  const password = reader.cstring();
  if (reader.left > 0) throw new GatewayError("protocol_violation", "invalid password packet");
  return password;
}
