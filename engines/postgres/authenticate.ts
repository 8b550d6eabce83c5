/** SCRAM with many passwords under one user name: the project's shared salt first, then the proof is tried against a bounded set of credentials. */
import type { Clock } from "../../core/clock.ts";
import type { Directory, Route } from "../../core/directory.ts";
import { GatewayError } from "../../core/errors.ts";
import type { Identity } from "../../core/identity.ts";
import { isUsable } from "../../core/live.ts";
import type { Credential, Verifier } from "../../core/model.ts";
import type { PipeReader } from "../../core/pipe-reader.ts";
import { parseDatabaseName } from "../../core/scope.ts";
import { readClientFirst, type ScramProof, ScramServer, scramSha256, scramSha256Plus } from "../../core/scram.ts";
import type { Secrets } from "../../core/secrets.ts";
import { encodeAuthenticationOk, encodeAuthenticationSasl, encodeAuthenticationSaslData } from "./backend.ts";
import { BodyReader, concatBytes, readUint32 } from "./bytes.ts";
import { frontend } from "./message-types.ts";
import type { Startup } from "./startup.ts";

/** PostgreSQL's PG_MAX_SASL_MESSAGE_LENGTH. */
const maxSaslBytes = 1024;
const mockIterations = 4096;

export interface AuthenticateDeps {
  readonly directory: Directory;
  readonly secrets: Secrets;
  readonly clock: Clock;
}

export interface Proven {
  readonly identity: Identity;
  /** Our half of the proof, and AuthenticationOk: the client has not been sent them yet. */
  readonly answer: Uint8Array;
}

/**
 * Runs the exchange up to AuthenticationOk.
 * @throws {GatewayError} auth_failed, the same for an unknown project, an unknown database and a wrong password; store_unavailable;
 *   protocol_violation for messages that are not SCRAM.
 */
export async function authenticate(reader: PipeReader, startup: Startup, deps: AuthenticateDeps): Promise<Proven> {
  const knownUser = isPlainName(startup.user) ? startup.user : undefined;
  const [keys, route] = await lookUp(deps.directory, knownUser, startup.database);
  const salt = keys?.scramSalt ?? deps.secrets.mockSalt(startup.user);
  const proof = await exchange(reader, salt, keys?.scramIterations ?? mockIterations, deps);
  const match = route && findMatch(proof, route, deps.clock.wallMs());
  if (!match) throw authFailed(startup.user);
  if (reader.buffered > 0) throw earlyData();
  const answer = concatBytes(encodeAuthenticationSaslData(12, proof.serverFinal(match.verifier)), encodeAuthenticationOk());
  return { identity: { projectId: route.projectId, credential: match.credential, databaseName: startup.database }, answer };
}

async function lookUp(directory: Directory, user: string | undefined, database: string) {
  if (user === undefined) return [undefined, undefined] as const;
  const keys = await directory.findProjectKeys(user);
  // Names of no known form share one look-up, so that they cannot fill the cache.
  return [keys, keys && (await directory.findRoute(user, parseDatabaseName(database) ? database : ""))] as const;
}

async function exchange(reader: PipeReader, salt: Uint8Array, iterations: number, deps: AuthenticateDeps): Promise<ScramProof> {
  const { crypto } = deps.secrets;
  const channelBinding = reader.pipe.tls?.serverEndPoint;
  reader.pipe.write(encodeAuthenticationSasl(channelBinding ? [scramSha256Plus, scramSha256] : [scramSha256]));
  const initial = new BodyReader(await readSaslMessage(reader), "SASLInitialResponse");
  const mechanism = initial.cstring();
  if (mechanism !== scramSha256 && !(mechanism === scramSha256Plus && channelBinding)) {
    throw new GatewayError("protocol_violation", "client selected an invalid SASL authentication mechanism");
  }
  const data = initial.bytes(initial.int32());
  initial.end();
  const clientFirst = readClientFirst(data, mechanism === scramSha256Plus, channelBinding !== undefined);
  const server = new ScramServer(crypto, clientFirst, salt, iterations, channelBinding);
  reader.pipe.write(encodeAuthenticationSaslData(11, server.serverFirst));
  return server.readClientFinal(await readSaslMessage(reader));
}

/** The only message legal before AuthenticationOk. */
async function readSaslMessage(reader: PipeReader): Promise<Uint8Array> {
  const header = await reader.read(5);
  const length = readUint32(header, 1);
  if (header[0] !== frontend.Password) throw new GatewayError("protocol_violation", `expected SASL response, got message type ${header[0]}`);
  if (length < 4 || length - 4 > maxSaslBytes) throw new GatewayError("protocol_violation", "invalid SASL response length");
  return (await reader.read(length - 4)).slice();
}

interface Match {
  readonly credential: Credential;
  readonly verifier: Verifier;
}

/** All candidates are tried, so that time does not tell which one matched; the others only where none did. */
function findMatch(proof: ScramProof, route: Route, nowMs: number): Match | undefined {
  return tryCredentials(proof, route.candidates, nowMs) ?? tryCredentials(proof, route.others, nowMs);
}

function tryCredentials(proof: ScramProof, credentials: readonly Credential[], nowMs: number): Match | undefined {
  let match: Match | undefined;
  for (const credential of credentials) {
    const alive = isUsable(credential, nowMs);
    for (const verifier of credential.verifiers) {
      const right = proof.matches(verifier);
      if (right && alive && (verifier.validUntil === undefined || verifier.validUntil > nowMs)) match = { credential, verifier };
    }
  }
  return match;
}

function isPlainName(name: string): boolean {
  return /^tdb_[0-9a-f]{8}$/.test(name);
}

/** Of a client that has not been told yet whether it is in. */
export function earlyData(): GatewayError {
  return new GatewayError("protocol_violation", "received data before authentication was complete");
}

export function authFailed(user: string): GatewayError {
  return new GatewayError("auth_failed", `password authentication failed for user "${printable(user)}"`);
}

/** Client text in a message or log: no control characters, no line breaks, at most 63 characters as an identifier has. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "?").slice(0, 63);
}
