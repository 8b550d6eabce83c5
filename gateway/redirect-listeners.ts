/** The listeners that authenticate, detect and redirect: one line of the registry each. */
import type { BytePipe, TlsServerContext } from "../core/byte-pipe.ts";
import { flagName } from "../core/config.ts";
import { type DoormanDeps, type RedirectEngine, runVisit } from "../core/doorman.ts";
import type { Gate } from "../core/limit.ts";
import type { EngineName } from "../core/model.ts";
import { createMongoEngine } from "../engines/mongodb/engine.ts";
import { createMysqlEngine } from "../engines/mysql/engine.ts";
import { createRedisEngine } from "../engines/redis/engine.ts";
import type { Entrance } from "./entrance.ts";
import { type OpenPort, openPort } from "./open-port.ts";
import type { Runtime } from "./runtime/runtime.ts";
import type { CredentialLookup } from "./store/credential-lookup.ts";
import { isTrusted } from "./tls/client-trust.ts";

/** A new engine is a folder in engines/, a port in the settings table and a line here. */
const registry = [
  { port: "mysql_port", create: createMysqlEngine },
  { port: "mongo_port", create: createMongoEngine },
  { port: "redis_port", create: createRedisEngine },
] as const satisfies readonly {
  port: "mysql_port" | "mongo_port" | "redis_port";
  create: () => RedirectEngine;
}[];

export interface RedirectListenersDeps {
  readonly entrance: Entrance;
  readonly runtime: Runtime;
  readonly tls: TlsServerContext;
  readonly lookup: CredentialLookup;
  readonly sharesPort?: boolean | undefined;
  /** Of all listeners, PostgreSQL's included; filled in as they open. */
  readonly ports: Partial<Record<EngineName, number>>;
}

/** Opens those that are on. `opened` has each one as soon as it is open, so that a failure leaves none behind. @throws {StartupError} */
export async function openRedirectListeners(deps: RedirectListenersDeps, opened: OpenPort[]): Promise<void> {
  const { entrance, runtime, ports } = deps;
  const { config } = entrance;
  const doorman = doormanDeps(deps);
  for (const { port, create } of registry) {
    if (config[port] < 0) continue;
    const engine: RedirectEngine = create();
    const at = { option: `--${flagName(port)}`, host: config.host, port: config[port], shared: deps.sharesPort };
    const run = (client: BytePipe, gate: Gate) => void runVisit(client, engine, { ...doorman, gate });
    const listener = await openPort(runtime, at, (pipe) => entrance.enter(pipe, run));
    opened.push(listener);
    ports[engine.name] = listener.port;
  }
}

function doormanDeps({ entrance, tls, lookup, ports }: RedirectListenersDeps): Omit<DoormanDeps, "gate"> {
  const { clock, log, bans, sessions, directory, secrets } = entrance;
  return {
    clock,
    log,
    bans,
    sessions,
    directory,
    secrets,
    tls,
    tlsRequired: () => entrance.config["tls.required"],
    isTrusted,
    findCredential: (lookupHash) => lookup.findCredential(lookupHash),
    listDatabases: (credential) => lookup.listDatabases(credential),
    greetingDelayMs: () => entrance.config.mysql_greeting_delay_ms,
    ports: () => ports,
  };
}
