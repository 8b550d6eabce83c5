/** Messages a client sends: encoding (we are the client of a backend) and decoding of the few that policies read. */
import { BodyReader, concatBytes, fromUtf8, MessageWriter } from "./bytes.ts";
import { frontend, startupCodes } from "./message-types.ts";

/** StartupMessage, protocol 3.0. @see https://www.postgresql.org/docs/current/protocol-message-formats.html */
export function encodeStartup(parameters: Iterable<readonly [string, string]>): Uint8Array {
  const writer = new MessageWriter().begin(0).uint32(196608);
  for (const [name, value] of parameters) writer.cstring(name).cstring(value);
  return writer.uint8(0).end().finish();
}

export function encodeSslRequest(): Uint8Array {
  return new MessageWriter(8).begin(0).uint32(startupCodes.ssl).end().finish();
}

/** CancelRequest: int32 pid · the secret key, 4 bytes in protocol 3.0, up to 256 in 3.2. */
export function encodeCancelRequest(pid: number, secret: Uint8Array): Uint8Array {
  return new MessageWriter(16).begin(0).uint32(startupCodes.cancel).uint32(pid).bytes(secret).end().finish();
}

/** SASLInitialResponse: cstring mechanism · int32 length · bytes. */
export function encodeSaslInitial(mechanism: string, data: string): Uint8Array {
  const bytes = fromUtf8(data);
  return new MessageWriter().begin(frontend.Password).cstring(mechanism).uint32(bytes.length).bytes(bytes).end().finish();
}

export function encodeSaslResponse(data: string): Uint8Array {
  return new MessageWriter().begin(frontend.Password).bytes(fromUtf8(data)).end().finish();
}

export function encodeQuery(sql: string): Uint8Array {
  return new MessageWriter(sql.length + 16).begin(frontend.Query).cstring(sql).end().finish();
}

export function encodeSync(): Uint8Array {
  return Uint8Array.of(frontend.Sync, 0, 0, 0, 4);
}

/** A statement that is none, under a name nobody uses: it fails before anything is prepared. */
export const failingParse: Uint8Array = new MessageWriter()
  .begin(frontend.Parse)
  .cstring("tenantry cut short")
  .cstring("cut short by the gateway")
  .uint16(0)
  .end()
  .finish();

/** Of a portal that nobody has bound; the client is told of the unnamed one. */
export const unboundPortal = "unnamed, not bound";
export const failingExecute: Uint8Array = new MessageWriter().begin(frontend.Execute).cstring(unboundPortal).uint32(0).end().finish();

export function encodeTerminate(): Uint8Array {
  return Uint8Array.of(frontend.Terminate, 0, 0, 0, 4);
}

export function encodeCopyFail(reason: string): Uint8Array {
  return new MessageWriter().begin(frontend.CopyFail).cstring(reason).end().finish();
}

export interface Parse {
  readonly statement: Uint8Array;
  readonly sql: Uint8Array;
  /** The part after the SQL: uint16 count and the parameter types, as they came. */
  readonly parameterTypes: Uint8Array;
}

/**
 * Parse (frontend 'P'). Body: cstring statement · cstring sql · uint16 n · n × uint32 type OID.
 * @throws {GatewayError} protocol_violation: short body, missing terminator, or bytes left over.
 * @see https://www.postgresql.org/docs/current/protocol-message-formats.html#PROTOCOL-MESSAGE-FORMATS-PARSE
 */
export function decodeParse(body: Uint8Array): Parse {
  const reader = new BodyReader(body, "Parse");
  const statement = reader.cstringBytes();
  const sql = reader.cstringBytes();
  const rest = body.subarray(body.length - reader.left);
  reader.bytes(reader.uint16() * 4);
  reader.end();
  return { statement, sql, parameterTypes: rest };
}

/** Parse again, with other SQL. */
export function encodeParse(parse: Parse, sql: string): Uint8Array {
  const nul = Uint8Array.of(0);
  const body = concatBytes(parse.statement, nul, fromUtf8(sql), nul, parse.parameterTypes);
  return new MessageWriter(body.length + 5).begin(frontend.Parse).bytes(body).end().finish();
}

/** The first byte of a Describe or Close: a portal, not a prepared statement. */
export const describesPortal = 0x50;
