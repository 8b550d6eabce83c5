/** What all listeners share: who may come in, who is in, and what is known of databases and credentials. */
import { type Bans, BanTracker } from "../core/ban.ts";
import type { BytePipe } from "../core/byte-pipe.ts";
import type { Clock } from "../core/clock.ts";
import type { Config } from "../core/config.ts";
import { Directory, type RouteSource } from "../core/directory.ts";
import { AddressGate, type Gate } from "../core/limit.ts";
import type { Log } from "../core/log.ts";
import type { Secrets } from "../core/secrets.ts";
import { SessionRegistry } from "../core/session-registry.ts";
import { ProxyDoor } from "./proxy-door.ts";
import { RedisCounts } from "./redis-counts.ts";
import type { KeeperLink } from "./workers/keeper-link.ts";

export interface EntranceDeps {
  readonly config: Config;
  readonly clock: Clock;
  readonly log: Log;
  readonly secrets: Secrets;
  readonly routes: RouteSource;
  /** In a worker: who decides instead of this process. */
  readonly keeper?: KeeperLink | undefined;
}

/** A ban raised on one port holds on the others, and a connection counts wherever it came in. */
export class Entrance {
  readonly clock: Clock;
  readonly log: Log;
  readonly secrets: Secrets;
  readonly routes: RouteSource;
  /** Undefined where this instance counts for itself. */
  readonly shared: RedisCounts | undefined;
  readonly keeper: KeeperLink | undefined;
  readonly bans: Bans;
  readonly #own: { readonly bans: BanTracker; readonly gate: AddressGate };
  readonly sessions: SessionRegistry;
  readonly door: ProxyDoor;
  readonly directory: Directory;
  /** As of the last reload. */
  config: Config;

  constructor({ config, clock, log, secrets, routes, keeper }: EntranceDeps) {
    this.config = config;
    this.clock = clock;
    this.log = log;
    this.secrets = secrets;
    this.routes = routes;
    this.keeper = keeper;
    this.shared = keeper ? undefined : this.#connectShared();
    const bans = new BanTracker(clock, banOptions(config), this.shared);
    this.#own = { bans, gate: new AddressGate(clock, bans, addressLimits(config), this.shared) };
    this.bans = keeper?.bans ?? bans;
    this.sessions = new SessionRegistry(clock, () => secrets.randomHex(6), sessionTimeouts(config));
    this.door = new ProxyDoor(clock, log, doorOptions(config));
    this.directory = new Directory(routes, clock);
  }

  /** What decides about connections to this process, and about those to its workers. */
  get gate(): Gate {
    return this.#own.gate;
  }

  /** Runs a connection with the gate that decides about it, once it is known whose it is. */
  enter(pipe: BytePipe, run: (pipe: BytePipe, gate: Gate) => void): void {
    this.door.enter(pipe, (client) => (this.keeper ? this.keeper.enter(client, run) : run(client, this.gate)));
  }

  reload(config: Config): void {
    this.config = config;
    this.#own.bans.reload(banOptions(config));
    this.#own.gate.reload(addressLimits(config));
    this.keeper?.reload(config["ip.exempt"]);
    this.shared?.reload({ bans: banOptions(config), limits: addressLimits(config) });
    this.sessions.reload(sessionTimeouts(config));
    this.door.reload(doorOptions(config));
  }

  stop(): void {
    this.sessions.stop();
    this.door.stop();
    this.#own.gate.stop();
    void this.shared?.stop();
  }

  #connectShared(): RedisCounts | undefined {
    const { config, clock, log, secrets } = this;
    if (config.redis_url === undefined) return undefined;
    return new RedisCounts({
      url: config.redis_url,
      instance: secrets.randomHex(8),
      clock,
      log,
      options: { bans: banOptions(config), limits: addressLimits(config) },
      onBan: (address, seconds) => {
        if (this.#own.bans.impose(address, seconds)) log.write("warn", "address banned", { address, seconds });
      },
    });
  }
}

function banOptions(config: Config) {
  return {
    threshold: config["auth_ban.threshold"],
    windowMs: config["auth_ban.window_s"] * 1000,
    banMs: config["auth_ban.ban_s"] * 1000,
    maxBanMs: config["auth_ban.max_ban_s"] * 1000,
  };
}

function addressLimits(config: Config) {
  return {
    maxConnections: config["ip.max_connections"],
    connectRate: config["ip.connect_rate"],
    connectBurst: config["ip.connect_burst"],
    exempt: config["ip.exempt"],
    repliesPerMin: config["ip.replies_per_min"],
  };
}

function doorOptions(config: Config) {
  return { from: config["ip.proxy_protocol_from"], timeoutMs: config.login_timeout_ms, maxWaiting: config.max_unauthenticated };
}

function sessionTimeouts(config: Config) {
  return {
    loginTimeoutMs: config.login_timeout_ms,
    clientIdleTimeoutMs: config.client_idle_timeout_s * 1000,
    idleInTransactionTimeoutMs: config.idle_in_transaction_timeout_s * 1000,
    slowReaderTimeoutMs: config.slow_reader_timeout_s * 1000,
    maxUnauthenticated: config.max_unauthenticated,
  };
}
