/**
 * What a listener that authenticates, detects and redirects asks the core: is this address welcome, whose secret is this, and what is the
 * client to be told. The engine speaks its protocol; every decision and every message is made here, the same for all engines.
 */
import { assertClientCertificate, assertNotRefused, type JudgeCertificate, redirectFor } from "./authorize.ts";
import type { Bans } from "./ban.ts";
import type { BytePipe, TlsServerContext } from "./byte-pipe.ts";
import type { Clock } from "./clock.ts";
import type { Directory, ProjectKeys, Route } from "./directory.ts";
import { GatewayError } from "./errors.ts";
import type { Identity } from "./identity.ts";
import type { Admission, Gate } from "./limit.ts";
import { isLoopback } from "./limit.ts";
import { isUsable } from "./live.ts";
import type { Log } from "./log.ts";
import type { Credential, EngineName, Verifier } from "./model.ts";
import { PipeClosedError } from "./pipe-reader.ts";
import { parseDatabaseName } from "./scope.ts";
import type { Secrets } from "./secrets.ts";
import type { Session, SessionRegistry } from "./session-registry.ts";

/** An engine whose listener does not proxy: it authenticates and tells the client where to go. */
export interface RedirectEngine {
  readonly name: EngineName;
  /**
   * Speaks to one client until either side leaves. What it throws is logged and the connection closed; what the client is to be told it has
   * told already, in its own protocol.
   */
  serve(socket: BytePipe, visit: Visit): Promise<void>;
}

export interface DoormanDeps {
  readonly clock: Clock;
  readonly log: Log;
  readonly gate: Gate;
  readonly bans: Bans;
  readonly sessions: SessionRegistry;
  readonly directory: Directory;
  readonly secrets: Secrets;
  readonly tls: TlsServerContext | undefined;
  readonly tlsRequired: () => "remote" | "always" | "never";
  /** The credential a secret belongs to, found by its keyed hash, whatever the project. */
  findCredential(lookupHash: string): Promise<Credential | undefined>;
  /** Database names a credential reaches, as clients spell them, at most 1000. */
  listDatabases(credential: Credential): Promise<readonly string[]>;
  /** Default: no client certificate is trusted. */
  readonly isTrusted?: JudgeCertificate | undefined;
  /** How long a listener that speaks first waits for a client of another protocol to do so: mysql_greeting_delay_ms. */
  readonly greetingDelayMs: () => number;
  /** The port of each protocol's listener that is on, for "connect to MySQL on port 3306". */
  ports(): Partial<Record<EngineName, number>>;
}

/** Runs one connection of a redirecting listener to its end. Never rejects. */
export async function runVisit(socket: BytePipe, engine: RedirectEngine, deps: DoormanDeps): Promise<void> {
  const admission = deps.gate.admit(socket.peer.address);
  const session = deps.sessions.open(socket.peer.address, admission);
  const refusal = admission.refusal ?? (admission.shared && (await admission.shared));
  const client = admission.pipe(socket);
  const visit = new Visit(engine.name, client, admission, refusal, session, deps);
  try {
    await engine.serve(client, visit);
  } catch (error) {
    if (!(error instanceof PipeClosedError)) logEnd(error, engine.name, session, deps.log);
  } finally {
    visit.close();
    session.close();
    admission.release();
  }
}

function logEnd(error: unknown, engine: EngineName, session: Session, log: Log): void {
  const fields = { ...session.logFields(), engine };
  if (error instanceof GatewayError) log.write(error.refusal.log, "visit ended", { ...fields, reason: error.message });
  else log.write("error", "internal error", { ...fields, error: error instanceof Error ? (error.stack ?? error.message) : String(error) });
}

/** One client at the door. */
export class Visit {
  readonly engine: EngineName;
  /** Aborted when the client takes longer than login_timeout_ms, or the gateway stops. */
  readonly signal: AbortSignal;
  /** Decided at accept: a ban, too many connections. To be told as soon as this protocol lets the client show it, before any secret is looked at. */
  readonly refusal: GatewayError | undefined;
  /** Undefined while TLS has it, and for good when that failed. */
  #client: BytePipe | undefined;
  readonly #admission: Admission;
  readonly #session: Session;
  readonly #deps: DoormanDeps;
  #isCounted = false;

  constructor(engine: EngineName, socket: BytePipe, admission: Admission, refusal: GatewayError | undefined, session: Session, deps: DoormanDeps) {
    this.engine = engine;
    this.#client = socket;
    this.signal = session.signal;
    this.refusal = refusal;
    this.#admission = admission;
    this.#session = session;
    this.#deps = deps;
    if (this.refusal) this.#count(this.refusal);
  }

  get id(): string {
    return this.#session.id;
  }

  get tls(): TlsServerContext | undefined {
    return this.#deps.tls;
  }

  /**
   * Server-side TLS on the client's socket; engines start it here and nowhere else. `received` are bytes already read behind what asked for it.
   * @throws {PipeClosedError} when the handshake fails: there is nobody to be told. @throws the signal's reason when aborted.
   */
  async startTls(received: Uint8Array): Promise<BytePipe> {
    const { tls } = this.#deps;
    const plain = this.#client;
    if (!tls || !plain) throw new GatewayError("protocol_violation", "TLS cannot start here");
    this.#client = undefined;
    try {
      this.#client = await plain.startTls(tls, received.length > 0 ? received : undefined, this.signal);
    } catch (error) {
      this.signal.throwIfAborted();
      this.note("TLS handshake failed", error instanceof Error ? error.message : String(error));
      throw new PipeClosedError(error instanceof Error ? error : undefined);
    }
    return this.#client;
  }

  /** Ends the client's connection, the TLS one where there is one; what was written still reaches it. */
  close(): void {
    this.#client?.end();
  }

  get secrets(): Secrets {
    return this.#deps.secrets;
  }

  get clock(): Clock {
    return this.#deps.clock;
  }

  get greetingDelayMs(): number {
    return this.#deps.greetingDelayMs();
  }

  get ports(): Partial<Record<EngineName, number>> {
    return this.#deps.ports();
  }

  /** The login deadline is over: the client has proven itself and may stay, idle or not, as its protocol has it. */
  loggedIn(): void {
    this.#session.settle();
  }

  /** Ends the visit from outside its conversation, which then fails with `reason`. */
  dismiss(reason: GatewayError): void {
    this.#session.terminate(reason);
  }

  /** @throws {GatewayError} tls_required, unless the pipe is encrypted or may stay in clear. */
  assertTls(pipe: BytePipe): void {
    const required = this.#deps.tlsRequired();
    if (pipe.tls || required === "never" || (required === "remote" && isLoopback(pipe.peer.address))) return;
    throw new GatewayError("tls_required", "TLS is required");
  }

  /** The salt a user's secrets are kept under; a made-up one that stays the same for a user that is none. */
  async findKeys(user: string): Promise<ProjectKeys> {
    const keys = isProjectId(user) ? await this.#deps.directory.findProjectKeys(user) : undefined;
    return keys ?? { projectId: "", scramSalt: this.#deps.secrets.mockSalt(user), scramIterations: 4096 };
  }

  /**
   * A secret in clear (over TLS, or loopback), for user = project id. `databaseName` narrows nothing: the secret is found by its keyed hash.
   * @throws {GatewayError} auth_failed, counted against the address; client_certificate_required; store_unavailable.
   */
  async verifySecret(user: string, secret: string, databaseName: string): Promise<Identity> {
    this.#session.describe(printable(user), printable(databaseName));
    const credential = await this.#deps.findCredential(this.#deps.secrets.lookupHash(secret));
    if (credential?.projectId !== user || !this.#isGood(credential, secret)) throw await this.#fail(user);
    return await this.#succeed(credential, databaseName);
  }

  /**
   * A secret in clear where the user name is not the project's but the blueprint's or tenant's (Redis): the secret decides the project.
   * @throws as verifySecret
   */
  async verifySecretOnly(user: string, secret: string): Promise<Identity> {
    this.#session.describe(printable(user), "");
    const credential = await this.#deps.findCredential(this.#deps.secrets.lookupHash(secret));
    if (!credential || !this.#isGood(credential, secret)) throw await this.#fail(user);
    return await this.#succeed(credential, "");
  }

  /**
   * A challenge answered: `matches` tries the answer against one secret's keys, and is called for every candidate.
   * @throws as verifySecret
   */
  async verifyProof(
    user: string,
    databaseName: string,
    matches: (verifier: Verifier) => boolean,
  ): Promise<{ identity: Identity; verifier: Verifier }> {
    this.#session.describe(printable(user), printable(databaseName));
    const route = isProjectId(user) ? await this.#deps.directory.findRoute(user, parseDatabaseName(databaseName) ? databaseName : "") : undefined;
    const found = route && findMatch(route, matches, this.#deps.clock.wallMs());
    if (!found) throw await this.#fail(user);
    return { identity: await this.#succeed(found.credential, databaseName), verifier: found.verifier };
  }

  /**
   * What a proven client that asks for a database is to be told: out of scope, suspended, another engine, or that this engine is not proxied
   * yet and where it is. Always a refusal.
   * @throws {GatewayError} store_unavailable
   */
  async findVerdict(identity: Identity, databaseName: string): Promise<GatewayError> {
    try {
      const target = await assertNotRefused({ ...identity, databaseName }, this.#deps.directory, this.#deps.clock.wallMs());
      return this.#count(redirectFor(target, this.engine));
    } catch (error) {
      if (error instanceof GatewayError && error.kind !== "store_unavailable") return this.#count(error);
      throw error;
    }
  }

  /** A visit has one outcome, however often its client asks. */
  #count(verdict: GatewayError): GatewayError {
    if (!this.#isCounted) this.#deps.sessions.metrics.loginFailed(this.engine, verdict);
    this.#isCounted = true;
    return verdict;
  }

  listDatabases(identity: Identity): Promise<readonly string[]> {
    return this.#deps.listDatabases(identity.credential);
  }

  /** Notes what became of the visit, for the operator. */
  note(event: string, reason: string): void {
    this.#deps.log.write("info", event, { ...this.#session.logFields(), engine: this.engine, reason });
  }

  #isGood(credential: Credential, secret: string): boolean {
    const now = this.#deps.clock.wallMs();
    const hash = this.#deps.secrets.lookupHash(secret);
    const verifier = credential.verifiers.find((each) => each.lookupHash === hash);
    return verifier !== undefined && (verifier.validUntil === undefined || verifier.validUntil > now) && isUsable(credential, now);
  }

  /** @throws {GatewayError} client_certificate_required, counted as this visit's outcome. */
  async #succeed(credential: Credential, databaseName: string): Promise<Identity> {
    const { bans, clock, directory, isTrusted } = this.#deps;
    bans.recordSuccess(this.#admission.addressKey);
    const identity = { projectId: credential.projectId, credential, databaseName };
    try {
      await assertClientCertificate(credential.projectId, this.#client?.tls?.clientCertificate, "one", {
        directory,
        wallMs: clock.wallMs(),
        isTrusted,
      });
    } catch (error) {
      throw error instanceof GatewayError && error.kind === "client_certificate_required" ? this.#count(error) : error;
    }
    this.#session.identify(this.engine, identity);
    return identity;
  }

  async #fail(user: string): Promise<GatewayError> {
    const { bans, log } = this.#deps;
    if (!this.#admission.exempt && (await bans.recordFailure(this.#admission.addressKey))) {
      log.write("warn", "address banned", { address: this.#admission.addressKey, seconds: bans.secondsLeft(this.#admission.addressKey) });
    }
    const refusal = new GatewayError("auth_failed", `password authentication failed for user "${printable(user)}"`);
    this.#deps.sessions.metrics.loginFailed(this.engine, refusal);
    return refusal;
  }
}

function findMatch(
  route: Route,
  matches: (verifier: Verifier) => boolean,
  nowMs: number,
): { credential: Credential; verifier: Verifier } | undefined {
  for (const credentials of [route.candidates, route.others]) {
    let found: { credential: Credential; verifier: Verifier } | undefined;
    for (const credential of credentials) {
      for (const verifier of credential.verifiers) {
        const alive = isUsable(credential, nowMs) && (verifier.validUntil === undefined || verifier.validUntil > nowMs);
        if (matches(verifier) && alive) found = { credential, verifier };
      }
    }
    if (found) return found;
  }
  return undefined;
}

function isProjectId(user: string): boolean {
  return /^tdb_[0-9a-f]{8}$/.test(user);
}

/** Client text for messages and logs: no control or formatting characters, at most 63. */
function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, "?").slice(0, 63);
}
