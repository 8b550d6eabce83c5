/** Logging in: SASL PLAIN, and SCRAM-SHA-256 with many passwords under one user name, in saslStart and saslContinue. */
import { Binary, type Document } from "bson";
import type { BytePipe } from "../../core/byte-pipe.ts";
import type { Visit } from "../../core/doorman.ts";
import { GatewayError } from "../../core/errors.ts";
import type { Identity } from "../../core/identity.ts";
import { parseDatabaseName } from "../../core/scope.ts";
import { readClientFirst, ScramServer, scramSha256 } from "../../core/scram.ts";
import { fromBase64, toBase64 } from "../../core/secrets.ts";
import { isDocument, utf8 } from "./wire.ts";

const plain = "PLAIN";
/** What hello offers to a user; PLAIN is taken by clients that were told to, and never chosen from an offer. */
export const offeredMechanisms: readonly string[] = [scramSha256];

const maxPayloadBytes = 4096;
const conversationId = 1;
const encoder = new TextEncoder();

/** Where the exchange stands between two messages. */
type Stage =
  | { readonly at: "start" }
  | { readonly at: "proof"; readonly user: string; readonly source: string; readonly server: ScramServer; readonly endsAtOnce: boolean }
  | { readonly at: "empty"; readonly identity: Identity };

interface Payload {
  readonly bytes: Uint8Array;
  /** libmongoc sends PLAIN as base64 text. Answers take the form of the question. */
  readonly isText: boolean;
}

export class Sasl {
  readonly #visit: Visit;
  readonly #client: BytePipe;
  #stage: Stage = { at: "start" };
  /** Once the client has proven who it is. */
  identity: Identity | undefined;

  constructor(visit: Visit, client: BytePipe) {
    this.#visit = visit;
    this.#client = client;
  }

  /**
   * saslStart; `source` is the database it was sent to.
   * @throws {GatewayError} auth_failed, and whatever else a client is told instead of being let in. The connection is to be closed then.
   */
  async start(body: Document, source: string): Promise<Document> {
    this.identity = undefined;
    assertWelcome(this.#visit, this.#client);
    const payload = readPayload(body.payload);
    if (body.mechanism === scramSha256) return await this.#startScram(body, payload, source);
    if (body.mechanism === plain) return await this.#logInPlain(payload, source);
    throw mechanismUnavailable();
  }

  /** saslContinue. @throws as `start` */
  async continue(body: Document): Promise<Document> {
    const stage = this.#stage;
    this.#stage = { at: "start" };
    const payload = readPayload(body.payload);
    if (stage.at === "start" || Number(body.conversationId) !== conversationId) {
      throw new GatewayError("protocol_violation", "no SASL conversation is in progress");
    }
    if (stage.at === "proof") return await this.#checkProof(stage, payload);
    this.#logIn(stage.identity);
    return step(new Uint8Array(0), payload.isText, true);
  }

  /** saslStart inside hello, where no error may be told: undefined, and the client asks again. Nothing is verified here. */
  async speculate(body: Document): Promise<Document | undefined> {
    if (body.mechanism !== scramSha256) return undefined;
    try {
      return await this.start(body, typeof body.db === "string" ? body.db : "");
    } catch (error) {
      if (error instanceof GatewayError) return undefined;
      throw error;
    }
  }

  logOut(): void {
    this.identity = undefined;
    this.#stage = { at: "start" };
  }

  async #startScram(body: Document, payload: Payload, source: string): Promise<Document> {
    const clientFirst = readClientFirst(payload.bytes, false, false);
    const user = userOf(clientFirst.bare);
    const keys = await this.#visit.findKeys(user);
    const server = new ScramServer(this.#visit.secrets.crypto, clientFirst, keys.scramSalt, keys.scramIterations, undefined);
    const endsAtOnce = isDocument(body.options) && body.options.skipEmptyExchange === true;
    this.#stage = { at: "proof", user, source, server, endsAtOnce };
    return step(encoder.encode(server.serverFirst), payload.isText, false);
  }

  async #checkProof(stage: Stage & { at: "proof" }, payload: Payload): Promise<Document> {
    const { user, source, server, endsAtOnce } = stage;
    const proof = server.readClientFinal(payload.bytes);
    const { identity, verifier } = await this.#visit.verifyProof(user, source, (each) => proof.matches(each));
    await this.#assertNoVerdict(identity, source);
    if (endsAtOnce) this.#logIn(identity);
    else this.#stage = { at: "empty", identity };
    return step(encoder.encode(proof.serverFinal(verifier)), payload.isText, endsAtOnce);
  }

  async #logInPlain(payload: Payload, source: string): Promise<Document> {
    // authzid NUL user NUL password (RFC 4616); Java names the user as authzid too.
    const [authzid, user, secret, ...more] = utf8(payload.bytes).split("\0");
    if (user === undefined || secret === undefined || more.length > 0 || (authzid !== "" && authzid !== user)) {
      throw new GatewayError("protocol_violation", "malformed PLAIN message");
    }
    const identity = await this.#visit.verifySecret(user, secret, source);
    await this.#assertNoVerdict(identity, source);
    this.#logIn(identity);
    return step(new Uint8Array(0), payload.isText, true);
  }

  /** A login that names the database is the first chance to tell what is to be told of it. */
  async #assertNoVerdict(identity: Identity, source: string): Promise<void> {
    if (parseDatabaseName(source)) throw await this.#visit.findVerdict(identity, source);
  }

  #logIn(identity: Identity): void {
    this.identity = identity;
    this.#visit.loggedIn();
  }
}

/** For any other mechanism. */
export function mechanismUnavailable(): GatewayError {
  return new GatewayError("unsupported", `this authentication mechanism is not available; use ${scramSha256} or ${plain}`);
}

/** @throws {GatewayError} the refusal decided at accept, or tls_required. */
export function assertWelcome(visit: Visit, client: BytePipe): void {
  if (visit.refusal) throw visit.refusal;
  try {
    visit.assertTls(client);
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error;
    throw new GatewayError(error.kind, `${error.message}: connect with tls=true`);
  }
}

function step(bytes: Uint8Array, isText: boolean, done: boolean): Document {
  return { conversationId, done, payload: isText ? toBase64(bytes) : new Binary(bytes), ok: 1 };
}

function readPayload(payload: unknown): Payload {
  if (payload instanceof Binary && payload.length() <= maxPayloadBytes) return { bytes: payload.value(), isText: false };
  const bytes = typeof payload === "string" && payload.length <= maxPayloadBytes ? fromBase64(payload) : undefined;
  if (!bytes) throw new GatewayError("protocol_violation", "malformed SASL payload");
  return { bytes, isText: true };
}

/** From `n=user,r=nonce`; commas and equals signs are escaped (RFC 5802 section 5.1). */
function userOf(bare: string): string {
  return bare.slice(2, bare.indexOf(",")).replaceAll("=2C", ",").replaceAll("=3D", "=");
}
