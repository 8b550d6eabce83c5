/** One dedicated connection that listens for changes and holds this instance's presence lock; it comes back by itself. */
import type pg from "pg";
import type { Clock } from "../../core/clock.ts";
import type { Change } from "../../core/directory.ts";
import type { Log } from "../../core/log.ts";
import { ScramClient } from "../scram-client.ts";
import { changeChannel, clusterChannel, deploymentChannel, holdChannel, parseChange, questionChannel } from "./changes.ts";
import { presenceClass } from "./presence.ts";

export interface ChangeFeedOptions {
  readonly connection: pg.ClientConfig;
  readonly presenceKey: number;
  readonly clock: Clock;
  readonly log: Log;
  /** How often the connection is asked whether it is still there, so that a silently cut one is noticed. */
  readonly heartbeatMs: number;
}

const firstRetryMs = 100;
const longestRetryMs = 5_000;
const longestCatchUpMs = 1_000;

export class ChangeFeed {
  readonly #options: ChangeFeedOptions;
  readonly #changeListeners = new Set<(change: Change | undefined) => void>();
  readonly #deploymentListeners = new Set<(deploymentId: string | undefined) => void>();
  readonly #questionListeners = new Set<(payload: string) => void>();
  readonly #holdListeners = new Set<(payload: string) => void>();
  readonly #clusterListeners = new Set<() => void>();
  readonly #stopping = new AbortController();
  #client: pg.Client | undefined;
  #present = false;
  #beating = false;
  #stopHeartbeat: (() => void) | undefined;
  #reconnecting: Promise<void> | undefined;

  constructor(options: ChangeFeedOptions) {
    this.#options = options;
  }

  /** Connects once; from then on the connection is kept. @throws when the store cannot be reached. */
  async start(): Promise<void> {
    await this.#connect();
    this.#stopHeartbeat = this.#options.clock.every(this.#options.heartbeatMs, () => void this.#beat());
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new Error("the change feed is stopping"));
    this.#stopHeartbeat?.();
    const client = this.#client;
    this.#client = undefined;
    await client?.end();
    await this.#reconnecting;
  }

  onChange(listener: (change: Change | undefined) => void): () => void {
    this.#changeListeners.add(listener);
    return () => this.#changeListeners.delete(listener);
  }

  /** Calls with undefined when events may have been missed. */
  onDeployment(listener: (deploymentId: string | undefined) => void): () => void {
    this.#deploymentListeners.add(listener);
    return () => this.#deploymentListeners.delete(listener);
  }

  onHold(listener: (payload: string) => void): () => void {
    this.#holdListeners.add(listener);
    return () => this.#holdListeners.delete(listener);
  }

  /** Calls also when events may have been missed. */
  onClusters(listener: () => void): () => void {
    this.#clusterListeners.add(listener);
    return () => this.#clusterListeners.delete(listener);
  }

  onQuestion(listener: (payload: string) => void): () => void {
    this.#questionListeners.add(listener);
    return () => this.#questionListeners.delete(listener);
  }

  /**
   * Resolves when every change committed before has been told to this instance's listeners: who hears that a write is done finds it in force here.
   * A server answers a query only after the notifications before it. Not waited for while the feed is away, nor long: it is a courtesy.
   */
  async caughtUp(): Promise<void> {
    const client = this.#client;
    if (!client) return;
    const done = new AbortController();
    const patience = this.#options.clock.sleep(longestCatchUpMs, done.signal).catch(() => undefined); // aborted below
    const asked = client.query("select 1").catch(() => undefined); // a lost connection is told by its own events
    await Promise.race([asked, patience]);
    done.abort();
  }

  async #connect(): Promise<void> {
    const client = new ScramClient(this.#options.connection);
    client.on("error", (error) => this.#lost(client, error));
    client.on("end", () => this.#lost(client, undefined));
    client.on("notification", (message) => this.#deliver(message));
    try {
      await client.connect();
      await client.query([changeChannel, deploymentChannel, holdChannel, questionChannel, clusterChannel].map((name) => `listen ${name}`).join("; "));
      this.#client = client;
      this.#present = false;
      await this.#takePresence(client);
    } catch (error) {
      this.#client = undefined;
      await client.end().catch(() => undefined); // it never was up; the first error is the one to tell
      throw error;
    }
  }

  /** The lock of a connection the server has not yet noticed is gone may be in the way; then the next heartbeat tries again. */
  async #takePresence(client: pg.Client): Promise<void> {
    if (this.#present) return;
    const answer = await client.query<{ held: boolean }>("select pg_try_advisory_lock($1::int, $2::int) as held", [
      presenceClass,
      this.#options.presenceKey,
    ]);
    this.#present = answer.rows[0]?.held === true;
  }

  async #beat(): Promise<void> {
    const client = this.#client;
    if (!client || this.#beating) return;
    this.#beating = true;
    try {
      await client.query("select 1");
      await this.#takePresence(client);
    } catch (error) {
      this.#lost(client, error);
    } finally {
      this.#beating = false;
    }
  }

  #deliver(message: pg.Notification): void {
    if (message.channel === deploymentChannel) {
      for (const listener of this.#deploymentListeners) listener(message.payload);
      return;
    }
    if (message.channel === holdChannel) {
      for (const listener of this.#holdListeners) listener(message.payload ?? "");
      return;
    }
    if (message.channel === questionChannel) {
      for (const listener of this.#questionListeners) listener(message.payload ?? "");
      return;
    }
    if (message.channel === clusterChannel) {
      for (const listener of this.#clusterListeners) listener();
      return;
    }
    const change = parseChange(message.payload ?? "");
    if (change) this.#emit(change);
  }

  #emit(change: Change | undefined): void {
    for (const listener of this.#changeListeners) listener(change);
  }

  #lost(client: pg.Client, error: unknown): void {
    if (this.#client !== client || this.#stopping.signal.aborted) return;
    this.#client = undefined;
    this.#options.log.write("warn", "change feed lost", { reason: error instanceof Error ? error.message : "connection ended" });
    client.end().catch(() => undefined); // already gone, as far as this side can tell
    this.#reconnecting = this.#reconnect();
  }

  async #reconnect(): Promise<void> {
    const signal = this.#stopping.signal;
    for (let waitMs = firstRetryMs; !signal.aborted; waitMs = Math.min(waitMs * 2, longestRetryMs)) {
      try {
        await this.#connect();
        if (signal.aborted) return await this.stop();
        this.#options.log.write("info", "change feed back");
        this.#emit(undefined);
        for (const listener of this.#deploymentListeners) listener(undefined);
        for (const listener of this.#clusterListeners) listener();
        return;
      } catch (error) {
        if (signal.aborted) return;
        this.#options.log.write("debug", "change feed not back yet", { reason: error instanceof Error ? error.message : String(error) });
        await this.#options.clock.sleep(waitMs, signal).catch(() => undefined); // rejects only when stopping; the loop then ends
      }
    }
  }
}
