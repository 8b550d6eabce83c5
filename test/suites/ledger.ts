/** Clients that write one row after another and remember what they were told of each: committed, or nothing. */
import type pg from "pg";
import { connect, type Target } from "../e2e/support/clients.ts";
import type { GatewayProcess } from "../e2e/support/gateway.ts";

/** Ways to write a row. Each resolves once the client was told that it is committed, and rejects in any other case. */
const shapes: readonly ((client: pg.Client, id: string) => Promise<unknown>)[] = [
  (client, id) => client.query(`INSERT INTO ledger VALUES ('${id}')`),
  (client, id) => client.query({ name: "write", text: "INSERT INTO ledger VALUES ($1)", values: [id] }),
  (client, id) => client.query(`BEGIN; INSERT INTO ledger VALUES ('${id}'); COMMIT`),
  async (client, id) => {
    await client.query("BEGIN");
    await client.query("INSERT INTO ledger VALUES ($1)", [id]);
    const { command } = await client.query("COMMIT");
    if (command !== "COMMIT") throw new Error(`the transaction ended with ${command}`);
  },
];

/** A client that cannot get in tries again after this. */
const pauseMs = 20;
/** Statements of a session before it leaves. */
const perSession = 6;

export class Ledger {
  /** What was told committed, and what may be or not. */
  readonly acknowledged = new Set<string>();
  readonly unknown = new Set<string>();
  sessions = 0;
  readonly target: Target;
  readonly #gateway: () => GatewayProcess;
  readonly name: string;
  readonly #open = new Set<pg.Client>();
  #lanes: Promise<unknown>[] = [];
  #stopped = true;
  #next = 0;

  /** @param gateway the one that runs now. */
  constructor(name: string, target: Target, gateway: () => GatewayProcess) {
    this.name = name;
    this.target = target;
    this.#gateway = gateway;
  }

  start(lanes: number): void {
    this.#stopped = false;
    this.#lanes = Array.from({ length: lanes }, () => this.#write());
  }

  /** Resolves when every client has left. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#lanes);
  }

  /** Clients gone without a word, whatever they were doing. */
  drop(): void {
    for (const client of this.#open) (client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
  }

  async #write(): Promise<void> {
    while (!this.#stopped) {
      const client = await connect(this.#gateway(), this.target).catch(() => undefined);
      if (!client) {
        await new Promise((done) => setTimeout(done, pauseMs));
        continue;
      }
      this.sessions++;
      this.#open.add(client);
      for (let i = 0; i < perSession && !this.#stopped; i++) {
        const id = `${this.name}-${this.#next++}`;
        const shape = shapes[this.#next % shapes.length]!;
        this.unknown.add(id);
        const isCommitted = await shape(client, id).then(
          () => true,
          () => false,
        );
        if (!isCommitted) break;
        this.unknown.delete(id);
        this.acknowledged.add(id);
      }
      this.#open.delete(client);
      await client.end().catch(() => undefined);
    }
  }
}
