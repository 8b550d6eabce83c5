/** The PostgreSQL server behind the control store and the first cluster: embedded, or the one --database-url names. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type pg from "pg";
import type { Log } from "../core/log.ts";
import { Secrets, toHex } from "../core/secrets.ts";
import type { ClusterAddress } from "../engines/postgres/dial.ts";
import type { Cleanup } from "./cleanup.ts";
import { setSuperuserPassword, startEmbedded } from "./embedded.ts";
import type { MasterKeys } from "./master-key.ts";
import { ScramClient } from "./scram-client.ts";
import type { ClusterTarget } from "./sql-dialer.ts";
import { StartupError } from "./startup-error.ts";
import type { StoreConnection } from "./store/store.ts";

export interface ServerTarget {
  /** For the control plane's own SQL. */
  readonly cluster: ClusterTarget;
  /** For the control store. */
  readonly store: StoreConnection;
  /** For backends of the data path. */
  readonly address: ClusterAddress;
  readonly serverVersion: string;
  /** Undefined for a server of somebody else's. */
  readonly embedded: EmbeddedAddress | undefined;
  /** Gives our own server's superuser the password of another master key. Undefined for a server of somebody else's. */
  readonly setSuperuserPassword: ((keys: MasterKeys) => Promise<void>) | undefined;
  /** Resolves with the reason when the embedded server has ended; never for a server of somebody else's. */
  readonly ended: Promise<string>;
}

export interface ServerTargetOptions {
  readonly databaseUrl: string | undefined;
  readonly embeddedBinDir: string | undefined;
  readonly dataDir: string;
  readonly secrets: Secrets;
  readonly masterKeys: MasterKeys;
  readonly log: Log;
  readonly backendBudget: number;
  /** Processes that serve clients. */
  readonly workers: number;
}

/** Most that one has beside its backends: to the control store, and as the administrator. */
const connectionsPerWorker = 10;

/** @throws {StartupError} naming --data-dir or --database-url. */
export async function openServer(options: ServerTargetOptions, cleanup: Cleanup): Promise<ServerTarget> {
  return options.databaseUrl === undefined ? await openEmbedded(options, cleanup) : await openExisting(options.databaseUrl, "--database-url");
}

async function openEmbedded(options: ServerTargetOptions, cleanup: Cleanup): Promise<ServerTarget> {
  const { dataDir, log, secrets, masterKeys, embeddedBinDir: binDir } = options;
  const passwordOf = (key: Uint8Array) => toHex(new Secrets(secrets.crypto, key).derive("embedded-superuser"));
  const superuserPassword = passwordOf(masterKeys.current);
  const previousPassword = masterKeys.previous && passwordOf(masterKeys.previous);
  // Room for the budget, the control plane's own connections, those of workers and those PostgreSQL reserves.
  const maxConnections = options.backendBudget + 60 + (options.workers > 1 ? options.workers * connectionsPerWorker : 0);
  const server = await startEmbedded({ dataDir, superuserPassword, previousPassword, log, binDir, maxConnections });
  cleanup.add("embedded PostgreSQL", () => server.stop());
  const at = { socketDir: server.connection.socketDir as string, port: server.connection.port, user: server.connection.user };
  const targets = embeddedTargets(at, secrets);
  return {
    ...targets,
    embedded: at,
    serverVersion: await readVersion(targets.store),
    setSuperuserPassword: (keys) => setSuperuserPassword(targets.cluster, passwordOf(keys.current)),
    ended: server.ended,
  };
}

/** Where the embedded server listens, and as whom the gateway logs in. */
export interface EmbeddedAddress {
  readonly socketDir: string;
  readonly port: number;
  readonly user: string;
}

/** How to reach the embedded server, for whoever has the master key. */
export function embeddedTargets(at: EmbeddedAddress, secrets: Secrets): Pick<ServerTarget, "cluster" | "store" | "address"> {
  const password = () => toHex(secrets.derive("embedded-superuser"));
  return {
    cluster: { ...at, password },
    store: { host: at.socketDir, port: at.port, user: at.user, password, database: "postgres" },
    address: { connect: { path: join(at.socketDir, `.s.PGSQL.${at.port}`) }, tls: undefined },
  };
}

/** `option` names the setting in errors. @throws {StartupError} naming it. */
export async function openExisting(url: string, option: string): Promise<ServerTarget> {
  const parsed = parseUrl(url, option);
  const ssl = await readSsl(parsed, option);
  const database = decodeURIComponent(parsed.pathname.slice(1)) || "postgres";
  const user = decodeURIComponent(parsed.username) || "postgres";
  const password = decodeURIComponent(parsed.password);
  const socketDir = parsed.searchParams.get("host");
  const host = socketDir ?? hostOf(parsed);
  const port = Number(parsed.port || 5432);
  const store: StoreConnection = { host, port, user, password, database, ssl };
  const serverVersion = await tryConnect(store, `${host}:${port}`, option);
  return {
    cluster: { ...(socketDir ? { socketDir } : { host }), port, user, password, ssl: ssl || undefined, maintenanceDatabase: database },
    store,
    address: addressOf(parsed, ssl),
    serverVersion,
    embedded: undefined,
    setSuperuserPassword: undefined,
    ended: new Promise(() => undefined),
  };
}

/** @param url as the setting `poolers` has it; its user and password are not used: clients' roles log in. @throws {StartupError} */
export async function readPooler(url: string, option: string): Promise<ClusterAddress> {
  const parsed = parseUrl(url, option);
  const mode = parsed.searchParams.get("pool_mode") ?? "session";
  if (mode !== "session" && mode !== "transaction") throw new StartupError(option, `pool_mode is "session" or "transaction", not "${mode}"`);
  return { ...addressOf(parsed, await readSsl(parsed, option)), pooler: mode };
}

function addressOf(url: URL, ssl: Awaited<ReturnType<typeof readSsl>>): ClusterAddress {
  const socketDir = url.searchParams.get("host");
  const host = hostOf(url);
  const port = Number(url.port || 5432);
  return {
    connect: socketDir ? { path: join(socketDir, `.s.PGSQL.${port}`) } : { host, port },
    tls: ssl ? { ca: ssl.ca, servername: host, verify: ssl.rejectUnauthorized !== false } : undefined,
  };
}

function hostOf(url: URL): string {
  return url.hostname.replace(/^\[(.*)\]$/, "$1") || "127.0.0.1";
}

function parseUrl(url: string, option: string): URL {
  try {
    return new URL(url);
  } catch {
    throw new StartupError(option, "is not a URL of the form postgresql://user:password@host:port/database");
  }
}

/** sslmode and sslrootcert as libpq has them: disable and prefer stay in clear, require encrypts, verify-* checks the certificate. */
async function readSsl(url: URL, option: string): Promise<{ rejectUnauthorized: boolean; ca?: string } | false> {
  const mode = url.searchParams.get("sslmode") ?? "prefer";
  if (["disable", "allow", "prefer"].includes(mode)) return false;
  if (!["require", "verify-ca", "verify-full"].includes(mode)) throw new StartupError(option, `unknown sslmode "${mode}"`);
  const caFile = url.searchParams.get("sslrootcert");
  if (!caFile) return { rejectUnauthorized: mode !== "require" };
  try {
    return { rejectUnauthorized: true, ca: await readFile(caFile, "utf8") };
  } catch (error) {
    throw new StartupError(option, `cannot read sslrootcert "${caFile}": ${(error as Error).message}`, error);
  }
}

async function tryConnect(connection: StoreConnection, shown: string, option: string): Promise<string> {
  try {
    return await readVersion(connection);
  } catch (error) {
    const reason = error instanceof AggregateError ? error.errors.map((each) => (each as Error).message).join("; ") : (error as Error).message;
    throw new StartupError(option, `the PostgreSQL server at ${shown} cannot be used: ${reason}`, error);
  }
}

/** Also finds out whether the role may do what is needed. @throws the driver's error, or Error in plain words. */
async function readVersion(connection: StoreConnection): Promise<string> {
  const client = new ScramClient({ ...(connection as pg.ClientConfig), connectionTimeoutMillis: 5000 });
  client.on("error", () => undefined); // reported by the call that fails
  await client.connect();
  try {
    const { rows } = await client.query(
      "SELECT pg_catalog.current_setting('server_version') AS version, rolsuper OR (rolcreatedb AND rolcreaterole) AS able FROM pg_catalog.pg_roles WHERE rolname = current_user",
    );
    const row = rows[0] as { version: string; able: boolean } | undefined;
    if (!row?.able) throw new Error("its role may not create databases and roles (a superuser is expected)");
    return row.version;
  } finally {
    await client.end();
  }
}
