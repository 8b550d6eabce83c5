/** The first bytes of a connection: TLS negotiation, then exactly one StartupMessage or CancelRequest. */
import type { BytePipe, TlsServerContext } from "../../core/byte-pipe.ts";
import { GatewayError } from "../../core/errors.ts";
import { PipeClosedError, PipeReader } from "../../core/pipe-reader.ts";
import { encodeNegotiateProtocolVersion } from "./backend.ts";
import { BodyReader, readUint32 } from "./bytes.ts";
import { startupCodes } from "./message-types.ts";
import { readOptions } from "./startup-options.ts";

/** PostgreSQL's own limit (MAX_STARTUP_PACKET_LENGTH). */
const maxStartupBytes = 10_000;
const maxParameters = 64;
/** SASL messages are the largest thing read before the relay starts; everything else is smaller than a start-up packet. */
const readerBytes = 16 * 1024;
const tlsHandshake = 0x16;
/** The first four bytes of a Terminate message: a client that was told to end before it had begun, as node-postgres says it. */
const terminate = 0x58000000;
/** The newest minor version of protocol 3 spoken here: 3.2, with cancel keys of up to 256 bytes. */
const newestMinor = 2;

export interface Startup {
  readonly type: "startup";
  readonly user: string;
  /** As asked for; the user name where the client named none, as in PostgreSQL. */
  readonly database: string;
  /** Settings for the backend session, by name, `options` taken apart. */
  readonly parameters: ReadonlyMap<string, string>;
  readonly protocolMinor: number;
  /** Truthy `replication`: refused after authentication. */
  readonly replication: boolean;
}

export interface CancelRequest {
  readonly type: "cancel";
  readonly pid: number;
  readonly secret: Uint8Array;
}

export interface Opening {
  readonly reader: PipeReader;
  readonly request: Startup | CancelRequest;
}

export interface StartupDeps {
  /** Undefined when TLS is switched off. */
  readonly tls: TlsServerContext | undefined;
  /** Called with a client whose first bytes are not PostgreSQL's, before it is refused. @throws when it has answered the client in its own words. */
  onStranger?(reader: PipeReader): Promise<void>;
}

/** Server-side TLS on the reader's pipe; `undefined` when TLS is switched off. */
export type UpgradeToTls = ((reader: PipeReader) => Promise<PipeReader>) | undefined;

/**
 * Reads up to the StartupMessage, with TLS from the first byte or on request.
 * `onPipe` learns of the encrypted pipe as soon as it stands, so that a later refusal is sent inside TLS.
 * @throws {GatewayError} protocol_violation for anything else; PipeClosedError when the client leaves.
 */
export async function readOpening(socket: BytePipe, deps: StartupDeps, signal: AbortSignal, onPipe: (pipe: BytePipe) => void): Promise<Opening> {
  let reader = new PipeReader(socket, readerBytes, signal);
  const { tls } = deps;
  const upgrade: UpgradeToTls = tls && ((before) => startTls(before, tls, before.detach(), signal, onPipe));
  const first = await firstByte(reader);
  if (first === tlsHandshake && upgrade) {
    reader = await upgrade(reader);
    if (reader.pipe.tls?.alpn !== "postgresql") {
      if ((await reader.peek(1))[0] !== 0) await deps.onStranger?.(reader);
      throw new GatewayError("protocol_violation", "direct TLS connections need the ALPN protocol postgresql");
    }
  } else if (first !== 0) {
    const length = readUint32(await reader.peek(4), 0);
    // A length that comes alone, and a Terminate, is judged alone; no other protocol's first message is that short.
    if (reader.buffered > (length === terminate ? 5 : 4)) await deps.onStranger?.(reader);
  }
  return readPackets(reader, upgrade);
}

/** @throws {GatewayError} login_timeout, with what such silence means for the log. */
async function firstByte(reader: PipeReader): Promise<number> {
  try {
    return (await reader.peek(1))[0]!;
  } catch (error) {
    if (!(error instanceof GatewayError && error.kind === "login_timeout")) throw error;
    const cause = "the client sent nothing, as a MySQL client does that waits for the server to speak first";
    throw new GatewayError(error.kind, error.message, { cause });
  }
}

/**
 * The packets of a client that speaks PostgreSQL, up to its StartupMessage, upgrading to TLS on the way when asked.
 * A loop, not recursion: each negotiation at most once. @throws as readOpening
 */
export async function readPackets(start: PipeReader, upgrade: UpgradeToTls): Promise<Opening> {
  let reader = start;
  let sslSeen = false;
  let gssSeen = false;
  for (;;) {
    const length = readUint32(await reader.read(4), 0);
    if (length === terminate) throw new PipeClosedError();
    if (length < 8 || length > maxStartupBytes) throw new GatewayError("protocol_violation", "invalid length of startup packet");
    const body = await reader.read(length - 4);
    const code = readUint32(body, 0);
    if (code === startupCodes.ssl && length === 8 && !sslSeen && !reader.pipe.tls) {
      sslSeen = true;
      refuseEarlyBytes(reader);
      if (upgrade) {
        reader.pipe.write(Uint8Array.of(0x53));
        reader = await upgrade(reader);
      } else reader.pipe.write(Uint8Array.of(0x4e));
    } else if (code === startupCodes.gss && length === 8 && !gssSeen && !reader.pipe.tls) {
      gssSeen = true;
      refuseEarlyBytes(reader);
      reader.pipe.write(Uint8Array.of(0x4e));
    } else if (code === startupCodes.cancel) {
      return { reader, request: decodeCancel(body) };
    } else {
      return { reader, request: decodeStartup(reader, code, body) };
    }
  }
}

/** Bytes glued behind SSLRequest would be plaintext pretending to be inside TLS (CVE-2021-23214). */
function refuseEarlyBytes(reader: PipeReader): void {
  if (reader.buffered > 0) throw new GatewayError("protocol_violation", "received unencrypted data after SSL request");
}

async function startTls(
  reader: PipeReader,
  context: TlsServerContext,
  received: Uint8Array,
  signal: AbortSignal,
  onPipe: (pipe: BytePipe) => void,
): Promise<PipeReader> {
  const pipe = await reader.pipe.startTls(context, received.length > 0 ? received : undefined, signal);
  onPipe(pipe);
  return new PipeReader(pipe, readerBytes, signal);
}

/** int32 code · int32 pid · secret of 4 to 256 bytes. */
function decodeCancel(body: Uint8Array): CancelRequest {
  const reader = new BodyReader(body, "CancelRequest");
  reader.uint32();
  const pid = reader.uint32();
  if (reader.left < 4 || reader.left > 256) throw new GatewayError("protocol_violation", "invalid length of query cancel packet");
  return { type: "cancel", pid, secret: reader.bytes(reader.left) };
}

function decodeStartup(reader: PipeReader, code: number, body: Uint8Array): Startup {
  const major = code >>> 16;
  if (major !== 3)
    throw new GatewayError("protocol_violation", `unsupported frontend protocol ${major}.${code & 0xffff}: server supports 3.0 to 3.${newestMinor}`);
  const raw = decodeParameters(body);
  const unknown = [...raw.keys()].filter((name) => name.startsWith("_pq_."));
  const asked = code & 0xffff;
  const minor = Math.min(asked, newestMinor) === 1 ? 0 : Math.min(asked, newestMinor);
  if (asked !== minor || unknown.length > 0) reader.pipe.write(encodeNegotiateProtocolVersion(minor, unknown));
  const user = raw.get("user");
  if (!user) throw new GatewayError("protocol_violation", "no PostgreSQL user name specified in startup packet", { sqlstate: "28000" });
  return {
    type: "startup",
    user,
    database: raw.get("database") || user,
    parameters: sessionParameters(raw),
    protocolMinor: minor,
    replication: !["", "0", "f", "false", "off", "no", "n"].includes((raw.get("replication") ?? "").toLowerCase()),
  };
}

/** (cstring name · cstring value)* · byte 0, to the very end. The last value of a repeated name counts, as in PostgreSQL. */
function decodeParameters(body: Uint8Array): Map<string, string> {
  const reader = new BodyReader(body, "startup");
  reader.uint32();
  const raw = new Map<string, string>();
  for (let count = 0; ; count++) {
    const name = reader.cstring();
    if (name === "") break;
    if (count >= maxParameters) throw new GatewayError("protocol_violation", "invalid startup packet layout: too many parameters");
    raw.set(name, reader.cstring());
  }
  if (reader.left !== 0) throw new GatewayError("protocol_violation", "invalid startup packet layout: expected terminator as last byte");
  return raw;
}

/** What is passed to the backend: `options` first, then the named ones, which therefore win, as in PostgreSQL. */
function sessionParameters(raw: ReadonlyMap<string, string>): Map<string, string> {
  const parameters = readOptions(raw.get("options") ?? "");
  for (const [name, value] of raw) {
    if (["user", "database", "options", "replication"].includes(name) || name.startsWith("_pq_.")) continue;
    parameters.set(name, value);
  }
  return parameters;
}
