/** Puts a gateway together from a configuration: server, store, control plane, listeners, API; and takes it apart again in reverse. */

import { resolve } from "node:path";
import process from "node:process";
import { type ApiDeps, createApi } from "../api/app.ts";
import { readVersion } from "../api/package-version.ts";
import type { Clock } from "../core/clock.ts";
import type { Config } from "../core/config.ts";
import type { ControlPlane } from "../core/control-plane.ts";
import { matchCidrs } from "../core/limit.ts";
import type { Log } from "../core/log.ts";
import { Secrets } from "../core/secrets.ts";
import { createPostgresAdmin } from "../engines/postgres/admin/admin.ts";
import { createPostgresDesign } from "../engines/postgres/admin/design.ts";
import { openBackups } from "./backups/open.ts";
import { Cleanup } from "./cleanup.ts";
import { Clusters } from "./clusters/clusters.ts";
import { openConfigured } from "./clusters/configured.ts";
import { manageClusters } from "./clusters/manage.ts";
import { createControlPlane } from "./control/control-plane.ts";
import { makeDataDir } from "./data-dir.ts";
import { closeWithin, Doors } from "./doors.ts";
import { Entrance } from "./entrance.ts";
import { clientAddress } from "./forwarded.ts";
import { createImports } from "./imports/imports.ts";
import { type Listeners, openListeners } from "./listeners.ts";
import { LockWatch } from "./lock-watch.ts";
import { loadMasterKeys, masterKeyPath } from "./master-key.ts";
import { listenError } from "./open-port.ts";
import { createIdempotency } from "./operations/idempotency.ts";
import { createOperations } from "./operations/operations.ts";
import { outboundRules, sourceLimits } from "./outbound/outbound.ts";
import { describePooler, withPoolers } from "./poolers.ts";
import { openQueryLog } from "./query-log/open.ts";
import { Rekeying } from "./rekey.ts";
import type { Runtime } from "./runtime/runtime.ts";
import { readForeignSchema } from "./schemas/read-foreign.ts";
import { openServer, type ServerTarget } from "./server-target.ts";
import { ServerVersions } from "./server-versions.ts";
import { createSqlDialer } from "./sql-dialer.ts";
import { StartupError } from "./startup-error.ts";
import { CredentialLookup } from "./store/credential-lookup.ts";
import { openStore, type Store } from "./store/store.ts";
import { openTls } from "./tls/open.ts";
import { openTracing } from "./tracing/open.ts";
import { countWorkers, openWorkers } from "./workers/worker-group.ts";

export interface StartOptions {
  readonly config: Config;
  readonly runtime: Runtime;
  readonly clock: Clock;
  readonly log: Log;
}

/** A running gateway. */
export interface Gateway {
  readonly control: ControlPlane;
  readonly store: Store;
  /** Undefined when the listener is off. */
  readonly pgPort: number | undefined;
  readonly apiPort: number | undefined;
  readonly pgHost: string;
  readonly apiUrl: string;
  /** Undefined when certificates are configured by file. */
  readonly caFile: string | undefined;
  readonly serverVersion: string;
  readonly listeners: Listeners;
  /** Resolves with the reason when something it cannot run without has ended. */
  readonly failed: Promise<string>;
  reload(config: Config): Promise<void>;
  /** Stops accepting, lets transactions and API requests finish for `graceMs`, then stops everything. A second call, with 0, ends the waiting. */
  stop(graceMs: number): Promise<void>;
}

/** @throws {StartupError} naming the option at fault; nothing is left running then. */
export async function startGateway(options: StartOptions): Promise<Gateway> {
  const { log } = options;
  const cleanup = new Cleanup((what, error) => log.write("error", "not stopped cleanly", { what, error: String(error) }));
  try {
    return await assemble(options, cleanup);
  } catch (error) {
    await cleanup.run();
    throw error;
  }
}

async function assemble(options: StartOptions, cleanup: Cleanup): Promise<Gateway> {
  const { config, runtime, clock, log } = options;
  let current = config;
  const inForce = () => current;
  const version = await readVersion();
  const tracing = await openTracing({ config, env: process.env, log, version });
  if (tracing) cleanup.add("traces", () => tracing.stop());
  const tracer = tracing?.tracer;
  const dataDir = await makeDataDir(resolve(config.data_dir));
  const keyPlace = { dataDir, file: config.master_key_file, text: config.master_key, crypto: runtime.crypto };
  const masterKeys = await loadMasterKeys(keyPlace);
  const secrets = new Secrets(runtime.crypto, masterKeys.current, masterKeys.lookup);
  const server = await openServer(
    {
      ...{ databaseUrl: config.database_url, embeddedBinDir: config.embedded_bin_dir },
      ...{ dataDir: config.data_dir, secrets, masterKeys, log, backendBudget: config.backend_budget },
      workers: countWorkers(config),
    },
    cleanup,
  );
  const configured = await openConfigured(config, server);
  const store = await openControlStore(server, options, cleanup);
  const clusterRules = () => ({ allowPrivate: true, allow: inForce().cluster_allow_addresses, setting: "cluster_allow_addresses" });
  const clusters = new Clusters({ store, secrets, log, rules: clusterRules }, configured);
  await clusters.start();
  cleanup.add("list of clusters", () => clusters.stop());
  const dialer = createSqlDialer({ clusters: clusters.targets, secrets });
  cleanup.add("control connections", () => dialer.close());
  const versions = new ServerVersions({ dialer, clusterIds: () => clusters.ids(), clock, log });
  cleanup.add("version checks", () => versions.stop());
  clusters.onChange = () => void versions.check();
  await versions.check();
  if (config.strict_versions) versions.assertGood();
  const lockWatch = new LockWatch({ dialer, clusterIds: () => clusters.ids(), clock, log, percent: () => inForce().lock_share_percent });
  cleanup.add("lock watch", () => lockWatch.stop());
  const admin = createPostgresAdmin({ dialer, secrets, log, clock, allowedExtensions: () => inForce()["extensions.allow"] });
  const queryLog = openQueryLog({ store, clock, log, config });
  cleanup.add("query log", () => queryLog.stop());
  const control = createControlPlane({
    ...{ store, admin, secrets, clock, log },
    design: createPostgresDesign({ dialer, secrets, log, clock }),
    readForeignSchema: (connection) => readForeignSchema(connection, outboundRules(inForce())),
    config: controlConfig(config),
    clusters,
    queries: queryLog.queries,
    tracer,
  });
  await control.start();
  cleanup.add("control plane", () => control.stop());
  const rekeying = new Rekeying(
    {
      ...{ store, secrets, clock, log, setSuperuserPassword: server.setSuperuserPassword },
      loadKeys: () => loadMasterKeys(keyPlace),
      ownFile: config.master_key_file === undefined && config.master_key === undefined ? masterKeyPath(keyPlace) : undefined,
      rekeyRoles: (database) => admin.rekeyRoles(database),
    },
    masterKeys,
  );
  cleanup.add("re-keying", () => rekeying.stop());
  await rekeying.start();
  const backups = openBackups(config, inForce, { dataDir, context: control.context, dialer, clusters: clusters.targets, secrets, log, clock });
  backups.start();
  cleanup.add("backups", () => backups.stop());
  const imports = createImports({
    ...{ control, store, dialer, secrets, clock, log },
    outbound: () => outboundRules(inForce()),
    limits: () => sourceLimits(inForce()),
    readSchema: (connection) => readForeignSchema(connection, outboundRules(inForce())),
    runScript: (database, sql) => admin.runScript(database, sql),
  });
  await imports.start();
  cleanup.add("imports", () => imports.stop());
  const { tls, watch, caFile } = await openTls({ ...options, inForce, dataDir, makes: true }, cleanup);
  const lookup = new CredentialLookup(store.db, clock, store.onChange);
  cleanup.add("credential look-up", () => lookup.stop());
  const entrance = new Entrance({ ...options, secrets, routes: store.routes });
  const wire = {
    ...{ entrance, queries: queryLog.queries, control, lookup, tls, tracer },
    clusters: await withPoolers(config, clusters),
    restoreRole: admin.restoreRole,
    onHolds: control.serveHolds,
    restoreAlteredRole: admin.restoreAlteredRole,
  };
  const listeners =
    countWorkers(config) > 1
      ? await openWorkers({ ...options, entrance, clusterIds: clusters.ids(), embedded: server.embedded })
      : await openListeners({ ...options, ...wire });
  const doors = new Doors();
  cleanup.add("listeners", () => doors.close(0));
  doors.add((graceMs) => listeners.drain(graceMs));
  listeners.sessions.onIdentified = ({ credential }) => control.noteUse(credential.id);
  const info = { version, apiUrl: "", caFile, ...describeEndpoints(config, listeners.ports) };
  const operations = createOperations({
    listeners,
    store,
    versions,
    clock,
    log,
    version,
    runtime: runtime.name,
    config: inForce,
    queries: queryLog.queries,
    clusters,
    clusterManager: manageClusters({
      ...{ clusters, context: control.context, dialer, rules: clusterRules },
      isStrict: () => inForce().strict_versions,
    }),
    describePooler: (request) => describePooler({ store, dialer, clusters, backendBudget: () => inForce().backend_budget }, request),
  });
  cleanup.add("operations", () => operations.stop());
  const served = {
    control,
    design: control.design,
    backups,
    imports,
    info,
    operations,
    history: queryLog.history,
    tracer,
    idempotency: createIdempotency(store.db, clock),
  };
  const apiPort = config.api_port < 0 ? undefined : await openApi({ ...options, served, inForce }, doors);
  if (apiPort !== undefined) info.apiUrl = `http://${urlHost(config)}:${apiPort}`;
  return {
    control,
    store,
    pgPort: listeners.ports.PostgreSQL,
    apiPort,
    pgHost: config.public_host,
    apiUrl: info.apiUrl,
    caFile,
    serverVersion: server.serverVersion,
    failed: server.ended.then((reason) => `the embedded PostgreSQL ended (${reason}); its log is in the data directory`),
    listeners,
    async reload(next) {
      current = next;
      control.reload(reloadableControlConfig(next));
      Object.assign(info, describeEndpoints(next, listeners.ports));
      await listeners.reload(next);
      queryLog.reload(next);
      await watch.check();
      await rekeying.check();
      await listeners.workers?.reloadKeys();
    },
    async stop(graceMs) {
      await doors.close(graceMs).catch(() => undefined); // closed again, and told of, by the clean-up
      await cleanup.run();
    },
  };
}

async function openControlStore(server: ServerTarget, options: StartOptions, cleanup: Cleanup): Promise<Store> {
  try {
    const store = await openStore({ connection: server.store, clock: options.clock, log: options.log });
    cleanup.add("control store", () => store.close());
    return store;
  } catch (error) {
    throw new StartupError(
      options.config.database_url ? "--database-url" : "--data-dir",
      `the control store cannot be opened: ${(error as Error).message}`,
      error,
    );
  }
}

function controlConfig(config: Config) {
  return {
    ...reloadableControlConfig(config),
    asksClientCertificates: config["tls.client_certificates"],
  };
}

function reloadableControlConfig(config: Config) {
  return {
    spareDatabases: config.spare_databases,
    trashDays: config.trash_days,
    apiQueryTimeoutMs: config["api.query_timeout_ms"],
    driftCheckIntervalS: config.drift_check_interval_s,
  };
}

interface OpenApiDeps extends StartOptions {
  readonly served: Omit<ApiDeps, "clock" | "log" | "tokens" | "signupEnabled" | "rateLimits">;
  /** The configuration as of the last reload. */
  readonly inForce: () => Config;
}

async function openApi(deps: OpenApiDeps, doors: Doors): Promise<number> {
  const { config, served, clock, log, inForce } = deps;
  const app = createApi({
    ...served,
    clock,
    log,
    tokens: () => ({ operator: inForce().operator_token, metrics: inForce().metrics_token }),
    get signupEnabled() {
      return inForce().signup_enabled;
    },
    rateLimits: { requestsPerS: config["api.rate_per_s"], violations: config["api.ban_violations"], banS: config["api.ban_s"] },
  });
  try {
    const server = await deps.runtime.serveHttp({
      host: config.host,
      port: config.api_port,
      fetch: (request, { remoteAddress }) => {
        const isTrusted = matchCidrs(inForce()["api.trusted_proxies"]);
        return app.fetch(request, { remoteAddress: clientAddress(remoteAddress, request.headers.get("x-forwarded-for"), isTrusted) });
      },
    });
    doors.add(closeWithin(clock, () => server.close()));
    return server.port;
  } catch (error) {
    throw listenError("--api-port", config.host, config.api_port, error);
  }
}

/** Where connection strings point to. */
function describeEndpoints(config: Config, ports: Listeners["ports"]) {
  const host = config.public_host;
  const endpoint = (port: number | undefined) => (port === undefined ? undefined : { host, port });
  return {
    pgHost: host,
    pgPort: config.public_pg_port ?? ports.PostgreSQL ?? config.pg_port,
    mysql: endpoint(ports.MySQL),
    mongodb: endpoint(ports.MongoDB),
    redis: endpoint(ports.Redis),
  };
}

function urlHost(config: Config): string {
  const host = config.host === "0.0.0.0" || config.host === "::" ? config.public_host : config.host;
  return host.includes(":") ? `[${host}]` : host;
}
