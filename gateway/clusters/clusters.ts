/** The servers that host databases: the configuration's, and those added over the API, of which every instance learns from the store. */
import type { Log } from "../../core/log.ts";
import type { Cluster } from "../../core/model.ts";
import type { ClusterConnection } from "../../core/operations.ts";
import type { Secrets } from "../../core/secrets.ts";
import type { ClusterAddress } from "../../engines/postgres/dial.ts";
import type { ClusterList } from "../control/context.ts";
import type { OutboundRules } from "../outbound/addresses.ts";
import { unseal } from "../sealed.ts";
import type { ClusterTarget, ClusterTargets } from "../sql-dialer.ts";
import type { Store } from "../store/store.ts";
import { type ClusterServer, serverOf } from "./connection.ts";

export interface ClustersDeps {
  readonly store: Pick<Store, "db" | "onClusters">;
  readonly secrets: Secrets;
  readonly log: Log;
  /** Which addresses added servers may have. */
  readonly rules: () => OutboundRules;
}

export const connectionPurpose = "cluster connections";

interface Added {
  readonly server: ClusterServer;
  /** As stored: what has not changed keeps its server object, and with it the connections made for it. */
  readonly sealed: string;
}

export class Clusters implements ClusterList {
  readonly #deps: ClustersDeps;
  /** The first takes isolation level 1. */
  readonly #configured: ReadonlyMap<string, ClusterServer>;
  #added: ReadonlyMap<string, Added> = new Map();
  #reading: Promise<void> = Promise.resolve();
  #stop: (() => void) | undefined;
  /** Called when the list may have changed. */
  onChange: () => void = () => undefined;

  constructor(deps: ClustersDeps, configured: readonly ClusterServer[]) {
    this.#deps = deps;
    this.#configured = new Map(configured.map((server) => [server.id, server]));
  }

  /** Reads the store, and again whenever it says so. @throws when it cannot be read. */
  async start(): Promise<void> {
    this.#stop = this.#deps.store.onClusters(() => {
      this.refresh().then(
        () => this.onChange(),
        (error: unknown) => this.#deps.log.write("warn", "list of clusters not read", { reason: String(error) }),
      );
    });
    await this.refresh();
  }

  stop(): void {
    this.#stop?.();
  }

  servers(): readonly ClusterServer[] {
    const added = [...this.#added.values()].map(({ server }) => server);
    return [...this.#configured.values(), ...added.filter(({ id }) => !this.#configured.has(id))];
  }

  list(): readonly Cluster[] {
    return this.servers().map(({ id }) => ({ id, name: id }));
  }

  ids(): readonly string[] {
    return this.servers().map(({ id }) => id);
  }

  get(id: string): ClusterServer | undefined {
    return this.#configured.get(id) ?? this.#added.get(id)?.server;
  }

  /** For the control plane's connections. */
  get targets(): ClusterTargets {
    return { get: async (id): Promise<ClusterTarget | undefined> => (await this.#find(id))?.target };
  }

  /** Where a client's connection goes. @throws Error for a cluster nobody knows, or one whose address may not be dialled. */
  async addressOf(id: string): Promise<ClusterAddress> {
    const server = await this.#find(id);
    if (!server) throw new Error(`cluster "${id}" is neither in the configuration of this instance nor in the store`);
    const { address, target } = server;
    if (!target.resolve || "path" in address.connect) return address;
    return { ...address, connect: { host: await target.resolve(), port: address.connect.port } };
  }

  /** One reading after the other, so that an older one never comes last. */
  refresh(): Promise<void> {
    const reading = this.#reading.then(() => this.#read());
    this.#reading = reading.catch(() => undefined); // its caller is told
    return reading;
  }

  /** Another instance may have added it a moment ago. */
  async #find(id: string): Promise<ClusterServer | undefined> {
    const known = this.get(id);
    if (known) return known;
    await this.refresh();
    return this.get(id);
  }

  async #read(): Promise<void> {
    const { store, secrets, log, rules } = this.#deps;
    const rows = await store.db
      .selectFrom("clusters")
      .select(["id", "connection"])
      .where("connection", "is not", null)
      .orderBy("created_at")
      .orderBy("id")
      .execute();
    const added = new Map<string, Added>();
    for (const { id, connection: sealed } of rows) {
      if (sealed === null) continue;
      const known = this.#added.get(id);
      try {
        const open = async () => serverOf(id, (await unseal(secrets, { purpose: connectionPurpose, id }, sealed)) as ClusterConnection, rules);
        added.set(id, known?.sealed === sealed ? known : { sealed, server: await open() });
      } catch (error) {
        log.write("error", "connection of a cluster cannot be read: was it added under another master key?", { cluster: id, reason: String(error) });
      }
    }
    this.#added = added;
  }
}
