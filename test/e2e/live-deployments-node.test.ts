/** Deployments under clients that are at work: none of them notices, whatever it has prepared. */

import type pg from "pg";
import type { Connection, Submittable } from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connect, ending, psql } from "./support/clients.ts";
import { type Fleet, makeFleet } from "./support/fleet.ts";

let fleet: Fleet;

beforeAll(async () => {
  fleet = await makeFleet("node");
});
afterAll(() => fleet?.dispose());

async function deploy(ddl: string): Promise<void> {
  const made = await psql(fleet.gateway, fleet.project(), ddl);
  expect(made.stderr).toBe("");
  const { body } = await fleet.api("POST", "/deployments", { blueprint_name: "myapp", deploy_all: true, wait: true });
  expect(body).toMatchObject({ status: "done", tenants_failed: 0 });
}

/** Runs until it is told to stop, and counts. */
function keepAsking(ask: () => Promise<unknown>): { stop(): Promise<number> } {
  let going = true;
  const run = (async () => {
    let rounds = 0;
    for (; going; rounds++) await ask();
    return rounds;
  })();
  run.catch(() => undefined); // told by `stop`
  return {
    stop() {
      going = false;
      return run;
    },
  };
}

/** Executes a prepared statement without asking for its description, as drivers do that remember it. */
class TrustingExecution implements Submittable {
  readonly done: Promise<void>;
  #settle: { resolve: () => void; reject: (error: unknown) => void } = { resolve: () => undefined, reject: () => undefined };

  constructor() {
    this.done = new Promise((resolve, reject) => {
      this.#settle = { resolve, reject };
    });
  }

  submit(connection: Connection): void {
    const wire = connection as unknown as Record<"parse" | "bind" | "execute", (message: object) => void> & { sync(): void };
    wire.parse({ name: "trusting", text: "SELECT * FROM accounts", types: [] });
    wire.bind({ portal: "", statement: "trusting", values: [], binary: false });
    wire.execute({ portal: "", rows: 0 });
    wire.sync();
  }

  handleDataRow(): void {}
  handleCommandComplete(): void {}
  handleError(error: unknown): void {
    this.#settle.reject(error);
  }
  handleReadyForQuery(): void {
    this.#settle.resolve();
  }
}

describe("prepared statements over a deployment", () => {
  it("of node-postgres, of SQL's PREPARE and in transactions go on without an error, and see the new columns", async () => {
    const open = () => connect(fleet.gateway, fleet.tenant("wayne"));
    const [named, prepared, transactional, idle, listening] = (await Promise.all([open(), open(), open(), open(), open()])) as [
      pg.Client,
      pg.Client,
      pg.Client,
      pg.Client,
      pg.Client,
    ];
    const everything = { name: "all", text: "SELECT * FROM accounts WHERE id > $1", values: [0] };
    await named.query("INSERT INTO accounts (name) VALUES ('Alice')");
    await prepared.query("PREPARE everything (int) AS SELECT * FROM accounts WHERE id > $1");
    await idle.query(everything);
    await listening.query(everything);
    await listening.query("LISTEN news");
    const heard: string[] = [];
    listening.on("notification", ({ payload }) => heard.push(payload ?? ""));
    const asking = [
      keepAsking(() => named.query(everything)),
      keepAsking(() => prepared.query("EXECUTE everything(0)")),
      keepAsking(async () => {
        await transactional.query("BEGIN");
        await transactional.query(everything);
        await transactional.query(everything);
        await transactional.query("COMMIT");
      }),
    ];
    for (const column of ["one", "two", "three"]) await deploy(`ALTER TABLE accounts ADD ${column} int`);
    await deploy("ALTER TABLE accounts ALTER one TYPE text");
    await deploy("ALTER TABLE accounts DROP COLUMN two");
    for (const each of asking) expect(await each.stop()).toBeGreaterThan(5);
    for (const client of [named, transactional, idle, listening]) {
      const { fields, rows } = await client.query(everything);
      expect(fields.map((field) => field.name)).toEqual(["id", "name", "email", "balance", "one", "three"]);
      expect(rows).toMatchObject([{ name: "Alice", one: null }]);
    }
    expect((await prepared.query("EXECUTE everything(0)")).fields).toHaveLength(6);
    await named.query("NOTIFY news, 'still listening'");
    await listening.query("SELECT 1");
    expect(heard).toEqual(["still listening"]);
    await Promise.all([named, prepared, transactional, idle, listening].map((client) => client.end()));
  });

  it("of a client that would misread the new rows: it is told to reconnect, between two statements", async () => {
    const trusting = await connect(fleet.gateway, fleet.tenant("wayne"));
    const execution = new TrustingExecution();
    trusting.query(execution);
    await execution.done;
    const ended = ending(trusting);
    await deploy("ALTER TABLE accounts ADD four int");
    expect(await ended).toMatchObject({ code: "57P01", message: "terminating connection: the schema changed under its prepared statements" });
  });

  it("waits for a transaction that is open, and does not wait for ever", async () => {
    const client = await connect(fleet.gateway, fleet.tenant("globex"));
    await client.query("BEGIN");
    await client.query("SELECT 1");
    await deploy("ALTER TABLE accounts ADD five int");
    await client.query("COMMIT");
    expect((await client.query("SELECT five FROM accounts")).rows).toEqual([]);
    await client.end();
  });
});
