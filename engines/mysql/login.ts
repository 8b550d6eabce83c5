/** A MySQL login: greeting, TLS, who it is by caching_sha2_password's full authentication, and which database is asked for. */
import type { Visit } from "../../core/doorman.ts";
import { GatewayError } from "../../core/errors.ts";
import type { Identity } from "../../core/identity.ts";
import type { Channel } from "./channel.ts";
import {
  askForPassword,
  authPlugin,
  decodeHandshakeResponse,
  decodePassword,
  encodeAuthSwitch,
  encodeGreeting,
  type HandshakeResponse,
  isSslRequest,
  makeNonce,
  nonceBytes,
} from "./handshake.ts";

export interface Login {
  readonly identity: Identity;
  /** "" when none was named. */
  readonly database: string;
}

/** @throws {GatewayError} the refusal, in the order of spec section 3: bans and limits, TLS, password. */
export async function logIn(channel: Channel, visit: Visit, threadId: number): Promise<Login> {
  const nonce = () => makeNonce(visit.secrets.crypto.randomBytes(nonceBytes));
  await channel.send(encodeGreeting(threadId, nonce(), visit.tls !== undefined));
  const response = await readResponse(channel, visit);
  if (visit.refusal) throw visit.refusal;
  // The password can only be had inside TLS: outside, the client would want an RSA key, which half of the connectors refuse to ask for.
  if (!channel.pipe.tls) throw new GatewayError("tls_required", "TLS is required: connect with --ssl-mode=REQUIRED");
  const password = await readPassword(channel, response, nonce);
  const identity = await visit.verifySecret(response.user, password, response.database);
  return { identity, database: response.database };
}

async function readResponse(channel: Channel, visit: Visit): Promise<HandshakeResponse> {
  let payload = await channel.read();
  if (visit.tls && isSslRequest(payload)) {
    await channel.upgrade((received) => visit.startTls(received));
    payload = await channel.read();
  }
  return decodeHandshakeResponse(payload);
}

/** Whatever the client's own first plugin is, it is led to the one that gives the password inside TLS. */
async function readPassword(channel: Channel, response: HandshakeResponse, nonce: () => Uint8Array): Promise<string> {
  let { token } = response;
  if (response.plugin === undefined) {
    throw new GatewayError("unsupported", `the client does not support the authentication plugin ${authPlugin}; use a newer client library`);
  }
  if (response.plugin !== authPlugin) {
    await channel.send(encodeAuthSwitch(nonce()));
    token = await channel.read();
  }
  // An empty password is answered with nothing, and nothing more would come. Some clients end even that with NUL.
  if (token.length === 0 || (token.length === 1 && token[0] === 0)) return "";
  await channel.send(askForPassword);
  return decodePassword(await channel.read());
}
