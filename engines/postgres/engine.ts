/** PostgreSQL as the data path sees it: ties start-up, authentication, pool and relay together. */
import { assertClientCertificate, authorize, type JudgeCertificate } from "../../core/authorize.ts";
import type { TlsServerContext } from "../../core/byte-pipe.ts";
import type { Clock } from "../../core/clock.ts";
import type { Directory } from "../../core/directory.ts";
import type { CancelCall, FullEngine, LoginRequest } from "../../core/engine.ts";
import { GatewayError } from "../../core/errors.ts";
import type { Grant } from "../../core/identity.ts";
import { isLoopback } from "../../core/limit.ts";
import type { LiveDatabase, LiveDatabases } from "../../core/live.ts";
import type { Log } from "../../core/log.ts";
import type { DatabaseSettings, EngineName } from "../../core/model.ts";
import { PipeClosedError, type PipeReader } from "../../core/pipe-reader.ts";
import type { Lease, Pool } from "../../core/pool.ts";
import type { QueryLog } from "../../core/query-log.ts";
import type { Secrets } from "../../core/secrets.ts";
import type { Traffic } from "../../core/wire-metrics.ts";
import { answerForeign } from "../foreign/answer.ts";
import { detectFirst } from "../foreign/first-bytes.ts";
import type { ForeignHost } from "../foreign/host.ts";
import { authenticate, earlyData, printable } from "./authenticate.ts";
import { encodeBackendKeyData, encodeReadyForQuery } from "./backend.ts";
import type { PostgresBackend } from "./backend-session.ts";
import { concatBytes } from "./bytes.ts";
import { BackendRefusedError } from "./dial.ts";
import { transactionStatus } from "./message-types.ts";
import { ParameterReports } from "./parameter-reports.ts";
import { Presence } from "./presence.ts";
import { encodeRefusal } from "./refusal.ts";
import { Relay } from "./relay.ts";
import { openSharedBackend } from "./shared/lender.ts";
import { SharedBackend } from "./shared/shared-backend.ts";
import { readOpening, type Startup } from "./startup.ts";
import { assertParametersAllowed } from "./startup-options.ts";

export interface PostgresEngineDeps {
  readonly directory: Directory;
  readonly live: LiveDatabases;
  readonly secrets: Secrets;
  readonly clock: Clock;
  readonly log: Log;
  readonly pool: Pool<PostgresBackend>;
  /** Undefined when TLS is switched off. */
  readonly tls: TlsServerContext | undefined;
  /** From whom TLS is demanded. */
  readonly tlsRequired: () => "remote" | "always" | "never";
  /** Default: no client certificate is trusted. */
  readonly isTrusted?: JudgeCertificate | undefined;
  /** The port of each protocol's listener that is on, for clients that came to the wrong one; undefined: none is named. */
  readonly ports?: () => Partial<Record<EngineName, number>>;
  /** Whether a pooler that lends its connections by transaction stands before a cluster: two of them cannot keep a session's settings. */
  readonly isPooled?: (clusterId: string) => boolean;
  /** How long a client waits for a database that is being replaced. Default: it does not. */
  readonly connectWaitMs?: () => number;
  /** The sweep's coarse clock. */
  readonly nowMs: () => number;
  /** What relays add to. Default: counted for nobody. */
  readonly traffic?: Traffic | undefined;
  /** Where statements are told of. Default: nowhere. */
  readonly queries?: QueryLog | undefined;
}

export interface PostgresLogin extends LoginRequest {
  readonly startup: Startup;
  readonly reader: PipeReader;
  /** What a client that has proven itself is owed: sent with the greeting or the refusal, since each write costs as much as the proof. */
  owed?: Uint8Array | undefined;
}

/** A backend for the whole session, or one for each transaction. */
type PostgresLease = Lease<PostgresBackend> | SharedBackend;

export function createPostgresEngine(deps: PostgresEngineDeps): FullEngine<PostgresLogin, PostgresLease> {
  const reports = new ParameterReports();
  const digest = (data: Uint8Array) => deps.secrets.crypto.sha256(data);
  return {
    name: "PostgreSQL",

    async open(socket, signal, onPipe): Promise<PostgresLogin | CancelCall> {
      const onStranger = (reader: PipeReader) => turnAway(reader, deps, signal);
      const { reader, request } = await readOpening(socket, { tls: deps.tls, onStranger }, signal, onPipe);
      if (request.type === "cancel") return request;
      return { type: "login", client: reader.pipe, user: printable(request.user), database: printable(request.database), startup: request, reader };
    },

    async authenticate(login) {
      assertTls(login, deps.tlsRequired());
      const { identity, answer } = await authenticate(login.reader, login.startup, deps);
      login.owed = answer;
      const { directory, clock, isTrusted } = deps;
      await assertClientCertificate(identity.projectId, login.client.tls?.clientCertificate, "sslcert and sslkey", {
        directory,
        wallMs: clock.wallMs(),
        isTrusted,
      });
      return identity;
    },

    async authorize(login, identity, signal) {
      if (login.startup.replication) throw new GatewayError("unsupported", "replication connections are not supported through the gateway");
      assertParametersAllowed(login.startup.parameters);
      const { directory, live, clock } = deps;
      const presence = new Presence(login.reader, signal);
      const patience = { clock, waitMs: deps.connectWaitMs?.() ?? 0, signal: () => presence.signal };
      try {
        return await authorize(identity, { directory, live, engine: "PostgreSQL", patience });
      } finally {
        presence.end();
      }
    },

    async lease(login, grant, signal, onAsk) {
      signal.throwIfAborted();
      if (login.client.isClosed) throw new PipeClosedError();
      const { credential, databaseName } = grant.identity;
      const { parameters } = login.startup;
      const request = { database: grant.target.database, role: credential.role, parameters, displayName: databaseName };
      const shares = sharesOf(grant.live);
      const sharing = { pool: deps.pool, digest, shares, onAsk };
      const presence = new Presence(login.reader, signal);
      try {
        if (shares() && !deps.isPooled?.(request.database.clusterId)) return await openSharedBackend(request, sharing, () => presence.signal);
        const handle = deps.pool.handle(request);
        onAsk(handle);
        return handle.tryAcquire() ?? (await handle.acquire(presence.signal));
      } finally {
        presence.end();
      }
    },

    // A server that gave no key has 0 here. One backend after another has none of them all.
    cancelKeyShape: (login, lease) => ({
      pid: (lease instanceof SharedBackend ? 0 : lease.backend.key.pid) || undefined,
      secretBytes: login.startup.protocolMinor >= 2 ? 32 : 4,
    }),

    relay(login, grant, lease, cancelKey, sessionId) {
      if (login.owed && login.reader.buffered > 0) throw earlyData();
      const backend = lease instanceof SharedBackend ? lease : lease.backend;
      const relay = new Relay({
        client: login.client,
        backend,
        parameters: login.startup.parameters,
        settings: settingsOf(grant.live),
        refuseDdl: grant.target.tenant !== undefined,
        nowMs: deps.nowMs,
        traffic: deps.traffic,
        journal: openJournal(deps.queries, login, grant, sessionId),
        onCancelFailure: cancelFailureOf(deps.log, grant.identity.databaseName),
      });
      const early = login.reader.detach();
      login.client.write(
        concatBytes(
          takeOwed(login),
          ...reports.encode(backend.parameters),
          encodeBackendKeyData(cancelKey.pid, cancelKey.secret),
          encodeReadyForQuery(transactionStatus.idle),
        ),
      );
      relay.start(early);
      return relay;
    },

    encodeRefusal(error, login) {
      // A BackendRefusedError has PostgreSQL's own words about the client's own start-up settings.
      const frame = error instanceof GatewayError ? encodeRefusal(error) : error instanceof BackendRefusedError ? error.frame : undefined;
      return frame && login ? concatBytes(takeOwed(login), frame) : frame;
    },
  };
}

// What a session keeps is made here, each with no more in its scope than it needs: a closure made where the login is would keep the login.

function settingsOf(live: LiveDatabase): () => DatabaseSettings {
  return () => live.settings;
}

function sharesOf(live: LiveDatabase): () => boolean {
  return () => live.settings.pool_mode === "transaction";
}

function cancelFailureOf(log: Log, database: string): (error: unknown) => void {
  return (error) => log.write("warn", "cancel request failed", { database, error: String(error) });
}

function takeOwed(login: PostgresLogin): Uint8Array {
  const owed = login.owed ?? new Uint8Array(0);
  login.owed = undefined;
  return owed;
}

function openJournal(queries: QueryLog | undefined, login: PostgresLogin, { identity, target, live }: Grant, sessionId: string) {
  const origin = {
    projectId: identity.projectId,
    workspaceId: target.workspaceId,
    tenantId: target.tenant?.id,
    database: target.database.name,
    credentialId: identity.credential.id,
    address: login.client.peer.address,
    sessionId,
  };
  return queries?.open(origin, settingsOf(live));
}

/**
 * Answers a client of another protocol in its own words.
 * @throws {GatewayError} protocol_violation, for the log, once it has been told; nothing is thrown at one whose protocol is not known.
 */
async function turnAway(reader: PipeReader, deps: PostgresEngineDeps, signal: AbortSignal): Promise<void> {
  const protocol = await detectFirst(reader);
  if (protocol === "PostgreSQL" || protocol === "unknown") return;
  const host: ForeignHost = {
    engine: "PostgreSQL",
    ports: deps.ports?.() ?? {},
    signal,
    refusal: undefined,
    tls: undefined, // begun already, or asked for in clear where there is none
    startTls: () => Promise.reject(new Error("TLS does not start here")),
    note: (event, reason) => deps.log.write("info", event, { engine: "PostgreSQL", address: reader.pipe.peer.address, reason }),
  };
  try {
    await answerForeign(reader, protocol, host);
  } finally {
    reader.pipe.end(); // before a refusal in PostgreSQL's words follows
  }
  throw new GatewayError("protocol_violation", `this client speaks ${protocol}, not PostgreSQL`);
}

/** Refuses plaintext before any password is asked for. */
function assertTls(login: PostgresLogin, required: ReturnType<PostgresEngineDeps["tlsRequired"]>): void {
  if (login.client.tls || required === "never") return;
  if (required === "remote" && isLoopback(login.client.peer.address)) return;
  throw new GatewayError("tls_required", "TLS is required: connect with sslmode=require", {
    hint: "If you already use TLS, your first attempt was rejected: check the password.",
  });
}
