/** Messages a backend sends: encoding (we are the backend of a client) and decoding of the few that are read. */
import { BodyReader, fromUtf8, MessageWriter, utf8 } from "./bytes.ts";
import { backend } from "./message-types.ts";

/** Fields of ErrorResponse and NoticeResponse by their one-letter codes (manual, section "Error and Notice Message Fields"). */
export type ErrorFields = ReadonlyMap<string, string>;

export interface ErrorResponse {
  readonly severity: "FATAL" | "ERROR";
  readonly sqlstate: string;
  readonly message: string;
  readonly detail?: string | undefined;
  readonly hint?: string | undefined;
}

export function encodeErrorResponse(error: ErrorResponse): Uint8Array {
  return encodeErrorOrNotice(backend.ErrorResponse, error.severity, error);
}

export function encodeNotice(notice: { sqlstate: string; message: string; hint?: string }): Uint8Array {
  return encodeErrorOrNotice(backend.NoticeResponse, "NOTICE", notice);
}

function encodeErrorOrNotice(
  type: number,
  severity: string,
  fields: { sqlstate: string; message: string; detail?: string | undefined; hint?: string | undefined },
): Uint8Array {
  const writer = new MessageWriter().begin(type);
  const put = (code: string, value: string) => writer.uint8(code.charCodeAt(0)).cstring(value.replaceAll("\0", ""));
  put("S", severity);
  put("V", severity);
  put("C", fields.sqlstate);
  put("M", fields.message);
  if (fields.detail) put("D", fields.detail);
  if (fields.hint) put("H", fields.hint);
  return writer.uint8(0).end().finish();
}

/** Body: (byte code · cstring value)* · byte 0. @throws {GatewayError} protocol_violation */
export function decodeErrorFields(body: Uint8Array): ErrorFields {
  const reader = new BodyReader(body, "ErrorResponse");
  const fields = new Map<string, string>();
  for (;;) {
    const code = reader.uint8();
    if (code === 0) return fields;
    fields.set(String.fromCharCode(code), reader.cstring());
  }
}

/** AuthenticationSASL (code 10): the mechanisms offered, best first. */
export function encodeAuthenticationSasl(mechanisms: readonly string[]): Uint8Array {
  const writer = new MessageWriter().begin(backend.Authentication).uint32(10);
  for (const mechanism of mechanisms) writer.cstring(mechanism);
  return writer.uint8(0).end().finish();
}

/** AuthenticationSASLContinue (11) and AuthenticationSASLFinal (12). */
export function encodeAuthenticationSaslData(code: 11 | 12, data: string): Uint8Array {
  return new MessageWriter().begin(backend.Authentication).uint32(code).bytes(fromUtf8(data)).end().finish();
}

export function encodeAuthenticationOk(): Uint8Array {
  return new MessageWriter(9).begin(backend.Authentication).uint32(0).end().finish();
}

export function encodeParameterStatus(name: string, value: string): Uint8Array {
  return new MessageWriter().begin(backend.ParameterStatus).cstring(name).cstring(value).end().finish();
}

export function encodeBackendKeyData(pid: number, secret: Uint8Array): Uint8Array {
  return new MessageWriter().begin(backend.BackendKeyData).uint32(pid).bytes(secret).end().finish();
}

export function encodeReadyForQuery(status: number): Uint8Array {
  return Uint8Array.of(backend.ReadyForQuery, 0, 0, 0, 5, status);
}

/** NegotiateProtocolVersion: the newest minor version spoken here, and the options not understood. */
export function encodeNegotiateProtocolVersion(minor: number, unknownOptions: readonly string[]): Uint8Array {
  const writer = new MessageWriter()
    .begin(backend.NegotiateProtocolVersion)
    .uint32(196608 + minor)
    .uint32(unknownOptions.length);
  for (const option of unknownOptions) writer.cstring(option);
  return writer.end().finish();
}

/** @throws {GatewayError} protocol_violation */
export function decodeParameterStatus(body: Uint8Array): [string, string] {
  const reader = new BodyReader(body, "ParameterStatus");
  const pair: [string, string] = [reader.cstring(), reader.cstring()];
  reader.end();
  return pair;
}

/** int32 pid · the rest is the secret, 4 to 256 bytes. @throws {GatewayError} protocol_violation */
export function decodeBackendKeyData(body: Uint8Array): { pid: number; secret: Uint8Array } {
  const reader = new BodyReader(body, "BackendKeyData");
  const pid = reader.uint32();
  return { pid, secret: reader.bytes(reader.left).slice() };
}

/** Authentication request: int32 code, then data that depends on it. @throws {GatewayError} protocol_violation */
export function decodeAuthentication(body: Uint8Array): { code: number; data: Uint8Array } {
  const reader = new BodyReader(body, "Authentication");
  const code = reader.uint32();
  return { code, data: reader.bytes(reader.left) };
}

/** The mechanism names of AuthenticationSASL's data. */
export function decodeMechanisms(data: Uint8Array): string[] {
  return utf8(data)
    .split("\0")
    .filter((name) => name.length > 0);
}
