/** SCRAM-SHA-256 and -PLUS as PostgreSQL speaks it (RFC 5802, RFC 7677; channel binding tls-server-end-point, RFC 5929): both sides, no I/O. */
import type { Crypto } from "./crypto.ts";
import { GatewayError } from "./errors.ts";
import { fromBase64, makeScramKeys, toBase64 } from "./secrets.ts";

const encoder = new TextEncoder();
const decoder = new TextDecoder();
const fromUtf8 = (text: string) => encoder.encode(text);
const utf8 = (bytes: Uint8Array) => decoder.decode(bytes);

export const scramSha256 = "SCRAM-SHA-256";
export const scramSha256Plus = "SCRAM-SHA-256-PLUS";

/** More would let a hostile server burn our CPU (CVE-2026-6669). */
const maxIterations = 100_000;

/** What the client's first message says, once it has been found acceptable. */
export interface ClientFirst {
  /** "n,," "y,," or "p=tls-server-end-point,,": repeated in base64 in the final message. */
  readonly gs2Header: string;
  readonly bare: string;
  readonly nonce: string;
}

function malformed(what: string): GatewayError {
  return new GatewayError("protocol_violation", `malformed SCRAM message (${what})`);
}

/**
 * Reads client-first. `plus` = the mechanism chosen was -PLUS, `plusOffered` = we offered it.
 * @throws {GatewayError} protocol_violation: bad syntax, an authorisation identity, a downgrade.
 */
export function readClientFirst(data: Uint8Array, plus: boolean, plusOffered: boolean): ClientFirst {
  const match = /^(n|y|p=([A-Za-z0-9.-]{1,64})),(a=[^,]*)?,(n=[^,]*,r=([\x21-\x2b\x2d-\x7e]{1,256}))(,.*)?$/s.exec(utf8(data));
  if (!match) throw malformed("client-first-message");
  const [, flag, binding, authzid, bare, nonce, extensions] = match;
  if (authzid) throw malformed("an authorization identity is not supported");
  if (extensions) throw malformed("extensions are not supported");
  if (plus !== (binding !== undefined)) throw malformed("channel binding flag does not fit the mechanism");
  if (plus && binding !== "tls-server-end-point") throw malformed("unsupported channel binding type");
  if (flag === "y" && plusOffered) throw malformed("the client was made to believe that channel binding is not offered");
  return { gs2Header: `${flag},,`, bare: bare as string, nonce: nonce as string };
}

/** StoredKey and ServerKey of one secret. */
export interface ScramKeys {
  readonly storedKey: Uint8Array;
  readonly serverKey: Uint8Array;
}

/** The server's side of one exchange. */
export class ScramServer {
  readonly #crypto: Crypto;
  readonly #clientFirst: ClientFirst;
  readonly #channelBinding: Uint8Array | undefined;
  readonly #nonce: string;
  /** server-first-message, to be sent. */
  readonly serverFirst: string;

  constructor(crypto: Crypto, clientFirst: ClientFirst, salt: Uint8Array, iterations: number, channelBinding: Uint8Array | undefined) {
    this.#crypto = crypto;
    this.#clientFirst = clientFirst;
    this.#channelBinding = clientFirst.gs2Header.startsWith("p=") ? channelBinding : undefined;
    this.#nonce = clientFirst.nonce + toBase64(crypto.randomBytes(18));
    this.serverFirst = `r=${this.#nonce},s=${toBase64(salt)},i=${iterations}`;
  }

  /**
   * Reads client-final and prepares the test of candidates.
   * @throws {GatewayError} protocol_violation: bad syntax, another nonce, a channel binding that is not ours.
   */
  readClientFinal(data: Uint8Array): ScramProof {
    const match = /^(c=([A-Za-z0-9+/=]{1,512}),r=([\x21-\x2b\x2d-\x7e]{1,512})),p=([A-Za-z0-9+/=]{1,128})$/.exec(utf8(data));
    if (!match) throw malformed("client-final-message");
    const [, withoutProof, binding, nonce, proofText] = match;
    const proof = fromBase64(proofText as string);
    if (proof?.length !== 32) throw malformed("proof");
    if (nonce !== this.#nonce) throw malformed("nonce");
    const header = fromUtf8(this.#clientFirst.gs2Header);
    const expected = this.#channelBinding ? toBase64(joinBytes(header, this.#channelBinding)) : toBase64(header);
    if (binding !== expected) throw malformed("channel binding does not match");
    return new ScramProof(this.#crypto, fromUtf8(`${this.#clientFirst.bare},${this.serverFirst},${withoutProof}`), proof);
  }
}

/** A client's proof, to be tried against any number of secrets: two HMACs and a hash each, no PBKDF2. */
export class ScramProof {
  readonly #crypto: Crypto;
  readonly #authMessage: Uint8Array;
  readonly #proof: Uint8Array;

  constructor(crypto: Crypto, authMessage: Uint8Array, proof: Uint8Array) {
    this.#crypto = crypto;
    this.#authMessage = authMessage;
    this.#proof = proof;
  }

  /** True when the client knows the secret behind `keys`; the same work either way. */
  matches(keys: ScramKeys): boolean {
    const signature = this.#crypto.hmacSha256(keys.storedKey, this.#authMessage);
    return this.#crypto.equal(this.#crypto.sha256(xor(signature, this.#proof)), keys.storedKey);
  }

  /** server-final-message: proves to the client that we know the secret too. */
  serverFinal(keys: ScramKeys): string {
    return `v=${toBase64(this.#crypto.hmacSha256(keys.serverKey, this.#authMessage))}`;
  }
}

/** The client's side of one exchange with a backend, without channel binding: backends are reached over our own socket or verified TLS. */
export class ScramClient {
  readonly #crypto: Crypto;
  readonly #password: string;
  readonly #bare: string;
  readonly #nonce: string;
  #expectedSignature: Uint8Array | undefined;
  readonly clientFirst: string;

  constructor(crypto: Crypto, password: string) {
    this.#crypto = crypto;
    this.#password = password;
    this.#nonce = toBase64(crypto.randomBytes(18));
    this.#bare = `n=,r=${this.#nonce}`;
    this.clientFirst = `n,,${this.#bare}`;
  }

  /** client-final-message. @throws {GatewayError} protocol_violation: a server that does not keep to the protocol. */
  async answer(serverFirst: string): Promise<string> {
    const match = /^r=([\x21-\x2b\x2d-\x7e]{1,512}),s=([A-Za-z0-9+/=]{1,256}),i=(\d{1,9})/.exec(serverFirst);
    const salt = match && fromBase64(match[2] as string);
    const iterations = Number(match?.[3]);
    if (!match || !salt || iterations < 1 || iterations > maxIterations) throw malformed("server-first-message");
    const nonce = match[1] as string;
    if (!nonce.startsWith(this.#nonce) || nonce.length === this.#nonce.length) throw malformed("server nonce");
    const keys = await makeScramKeys(this.#crypto, this.#password, salt, iterations);
    const withoutProof = `c=biws,r=${nonce}`;
    const authMessage = fromUtf8(`${this.#bare},${serverFirst},${withoutProof}`);
    this.#expectedSignature = this.#crypto.hmacSha256(keys.serverKey, authMessage);
    const proof = xor(keys.clientKey, this.#crypto.hmacSha256(keys.storedKey, authMessage));
    return `${withoutProof},p=${toBase64(proof)}`;
  }

  /** @throws {GatewayError} protocol_violation when the server does not know the password either. */
  verify(serverFinal: string): void {
    const signature = /^v=([A-Za-z0-9+/=]{1,128})/.exec(serverFinal);
    const bytes = signature && fromBase64(signature[1] as string);
    if (!bytes || !this.#expectedSignature || !this.#crypto.equal(bytes, this.#expectedSignature)) throw malformed("server signature");
  }
}

function xor(a: Uint8Array, b: Uint8Array): Uint8Array {
  return a.map((byte, i) => byte ^ b[i]!);
}

function joinBytes(a: Uint8Array, b: Uint8Array): Uint8Array {
  const out = new Uint8Array(a.length + b.length);
  out.set(a);
  out.set(b, a.length);
  return out;
}
