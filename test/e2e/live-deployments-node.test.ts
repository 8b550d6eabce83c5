/** Deployments under clients that are at work: none of them notices, whatever it has prepared. */

import type pg from "pg";
import type { Connection, Submittable } from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connect, ending, psql } from "./support/clients.ts";
import { type Fleet, makeFleet } from "./support/fleet.ts";
import { until } from "./support/until.ts";

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

describe("canaries with clients that ask for a column by the name it had", () => {
  const asked = "SELECT email FROM accounts WHERE id < 0";
  const get = async (id: string) => (await fleet.api("GET", `/deployments/${id}`)).body;
  const statuses = async (id: string) =>
    (await get(id)).results.map((each: { tenant_id: string; status: string }) => `${each.tenant_id} ${each.status}`);
  const columns = (client: pg.Client) => client.query("SELECT * FROM accounts").then(({ fields }) => fields.map(({ name }) => name));

  async function begin(ddl: string): Promise<string> {
    expect((await psql(fleet.gateway, fleet.project(), ddl)).stderr).toBe("");
    const request = { blueprint_name: "myapp", deploy_all: true, canary: 1, canary_watch_s: 3600 };
    const { status, body } = await fleet.api("POST", "/deployments", request);
    expect(status).toBe(202);
    return body.id;
  }

  it("hold the rest, by what the gateway itself counted; a retry goes on with it", async () => {
    const [canary, other] = await Promise.all([connect(fleet.gateway, fleet.tenant("globex")), connect(fleet.gateway, fleet.tenant("wayne"))]);
    await canary.query(asked);
    const id = await begin("ALTER TABLE accounts RENAME COLUMN email TO mail");
    const failures: string[] = [];
    await until(async () => {
      await other.query(asked); // nothing changes for those that are no canaries
      await canary.query({ name: "by-name", text: asked }).catch((error: pg.DatabaseError) => failures.push(error.code ?? ""));
      return (await get(id)).finished_at !== null;
    });
    expect(new Set(failures)).toEqual(new Set(["42703"]));
    const held = await get(id);
    expect(held.status).toBe("failed");
    expect(held.held_because).toMatch(/^statements of canary 'globex' fail more often: \d+\.\d% of \d+ since it was deployed, \d+\.\d% before$/);
    expect(held.results.map((each: { canary: boolean }) => each.canary)).toEqual([true, false]);
    expect(await statuses(id)).toEqual(["globex done", "wayne cancelled"]);
    expect(await columns(canary)).toContain("mail");
    expect(await columns(other)).toContain("email");
    const { body: blueprint } = await fleet.api("GET", "/blueprints/myapp");
    expect(blueprint.tenants_per_version).toEqual([
      { version: held.version - 1, tenants: 1 },
      { version: held.version, tenants: 1 },
    ]);
    expect((await fleet.api("POST", `/deployments/${id}/cancel`)).body.code).toBe("conflict"); // it has ended by itself

    expect((await fleet.api("POST", `/deployments/${id}/retry`)).body.code).toBe("accepted");
    await until(async () => (await get(id)).status === "done");
    expect(await get(id)).toMatchObject({ held_because: null, tenants_completed: 2, tenants_failed: 0 });
    expect(await columns(other)).toContain("mail");
    await Promise.all([canary.end(), other.end()]);
  });

  it("leave the rest where it was when the deployment is cancelled while they are watched", async () => {
    const other = await connect(fleet.gateway, fleet.tenant("wayne"));
    const id = await begin("ALTER TABLE accounts RENAME COLUMN mail TO email");
    await until(async () => (await statuses(id)).includes("globex done"));
    expect([(await get(id)).status, await statuses(id)]).toEqual(["running", ["globex done", "wayne pending"]]);
    expect((await fleet.api("POST", `/deployments/${id}/cancel`)).body.code).toBe("ok");
    await until(async () => (await get(id)).finished_at !== null);
    expect([(await get(id)).status, await statuses(id)]).toEqual(["cancelled", ["globex done", "wayne cancelled"]]);
    expect(await columns(other)).toContain("mail");
    expect((await fleet.api("POST", `/deployments/${id}/retry`)).body.code).toBe("accepted");
    await until(async () => (await get(id)).status === "done");
    expect(await columns(other)).toContain("email");
    await other.end();
  });
});
