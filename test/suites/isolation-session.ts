/** One session of the isolation fuzz: comes, finds nothing of anybody's, does a few random things, leaves in a random way. */

import type { Fleet } from "../e2e/support/fleet.ts";
import { bind, cancelRequest, execute, fieldsOf, flush, type Message, parse, query, show, sync, Wire } from "../e2e/support/wire.ts";
import type { Prng } from "../engines/postgres/support/prng.ts";

/** In every row, name and value of a tenant, and in nobody else's. */
export const markerOf = (tenant: string) => `mark_${tenant}_kram`;
const anyMarker = /mark_(iso\d+)_kram/g;

export interface Totals {
  sessions: number;
  /** Of these, in transaction mode. */
  sharing: number;
  steps: number;
  bytes: number;
  cancels: number;
}

/** Errors a step may end in: a failed transaction, a name used twice, two sessions of one tenant in each other's way. */
const expectedErrors = new Set(["22012", "25P02", "42P05", "42P03", "42P07", "40P01", "25P01", "55000"]);

/** Whatever a session can leave behind, as one row. The gateway's own names of shared statements are no session's. */
const traces = `SELECT current_setting('application_name') || '|' || coalesce(current_setting('iso.marker', true), '') || '|' || current_setting('work_mem')
 || '|' || current_setting('search_path') || '|' || (SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema())
 || '|' || (SELECT count(*) FROM pg_prepared_statements WHERE name !~ '^tdb_') || '|' || (SELECT count(*) FROM pg_cursors) || '|' || (SELECT count(*) FROM pg_listening_channels())
 || '|' || (SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory')
 || '|' || (SELECT count(*) FROM accounts WHERE name <> '`;
const noTraces = '||4MB|"$user", public|0|0|0|0|0|0';

/** Keys of sessions that are over: a cancel with one must hit nobody. */
const staleKeys: { pid: number; secret: Buffer }[] = [];

export class FuzzSession {
  readonly story: string[] = [];
  readonly #fleet: Fleet;
  readonly #tenant: string;
  readonly #isSharing: boolean;
  readonly #random: Prng;
  readonly #totals: Totals;
  #wire!: Wire;
  #mayBeCancelled = false;

  /** `isSharing`: in transaction mode. */
  constructor(fleet: Fleet, tenant: string, isSharing: boolean, random: Prng, totals: Totals) {
    this.#fleet = fleet;
    this.#tenant = tenant;
    this.#isSharing = isSharing;
    this.#random = random;
    this.#totals = totals;
  }

  /** @throws Error for anything of somebody else's. */
  async run(): Promise<void> {
    this.#wire = await this.#dial();
    this.#totals.sessions++;
    if (this.#isSharing) this.#totals.sharing++;
    const marker = markerOf(this.#tenant);
    const [row] = (await this.#ask(`${traces}${marker}')`)).filter(({ type }) => type === "D");
    const found = row?.body.subarray(6).toString();
    if (found !== noTraces) throw new Error(`a fresh session is not clean: ${found}`);
    const steps = this.#steps(marker);
    for (let left = 2 + this.#random.int(7); left > 0; left--) {
      const name = this.#random.pick(Object.keys(steps));
      this.story.push(name);
      this.#totals.steps++;
      await (steps[name] as () => Promise<unknown>)();
    }
    await this.#leave(marker);
    if (this.#wire.key) staleKeys.push(this.#wire.key);
  }

  #steps(marker: string): Record<string, () => Promise<unknown>> {
    const ask = (sql: string) => this.#ask(sql);
    const n = this.#random.int(100);
    return {
      settings: () =>
        ask(`SET iso.marker = '${marker}'; SET work_mem = '1MB'; SET search_path = public, pg_temp; SET application_name = '${marker}'`),
      "temporary table": () => ask(`CREATE TEMP TABLE t_${marker} AS SELECT '${marker}' AS v; SELECT * FROM t_${marker}`),
      "temporary table over a real one": () => ask(`CREATE TEMP TABLE accounts AS SELECT * FROM public.accounts; SELECT name FROM accounts LIMIT 3`),
      "prepared statement": () => ask(`PREPARE p_${n} AS SELECT '${marker}', name FROM public.accounts LIMIT 3; EXECUTE p_${n}`),
      "named statement": () => this.#exchange([parse(`s_${n}`, `SELECT '${marker}'`), bind("", `s_${n}`), execute(), sync]),
      "held cursor": () => ask(`DECLARE c_${n} CURSOR WITH HOLD FOR SELECT * FROM public.accounts; FETCH 5 FROM c_${n}`),
      "suspended portal": () =>
        this.#exchange([parse("", "SELECT * FROM public.accounts"), bind("", ""), execute("", 7), execute("", 7), flush, sync]),
      listen: () => ask(`LISTEN shared; LISTEN c_${marker}; NOTIFY shared, '${marker}'`),
      "notify others": () => ask(`NOTIFY shared, '${marker}'`),
      "advisory lock": () => ask(`SELECT pg_try_advisory_lock(${n}), pg_try_advisory_lock_shared(7)`),
      "open transaction": () => ask(`BEGIN; INSERT INTO public.accounts (name) VALUES ('${marker}')`),
      "failed transaction": () => ask("BEGIN; SELECT 1/0"),
      commit: () => ask("COMMIT"),
      "read all": () => ask("SELECT * FROM public.accounts"),
      notice: () => ask(`DO $$BEGIN RAISE NOTICE '${marker}'; END$$`),
      "error text": () => ask(`DO $$BEGIN RAISE division_by_zero USING MESSAGE = '${marker}', DETAIL = '${marker}'; END$$`),
      pipeline: () =>
        this.#exchange(
          Array.from({ length: 5 }, (_, i) => query(`SELECT '${marker}', ${i}`)),
          5,
        ),
      "extended pipeline": () =>
        this.#exchange([...[1, 2, 3].flatMap((i) => [parse("", `SELECT '${marker}' || ${i}`), bind("", ""), execute()]), sync]),
      cancel: () => this.#cancelOwn(),
      "cancel with a stale key": () => this.#cancelStale(),
    };
  }

  async #leave(marker: string): Promise<void> {
    const wire = this.#wire;
    const large = query(`SELECT repeat('${marker}', 100) FROM generate_series(1, 20000)`);
    const ways: Record<string, () => Promise<void> | void> = {
      politely: () => wire.end(),
      abruptly: () => wire.destroy(),
      "with a statement on its way": () => {
        wire.send(query(`SELECT pg_sleep(0.2), '${marker}'`));
        wire.destroy();
      },
      "with a result half read": async () => {
        await this.#ask("ROLLBACK"); // rows would not come in a failed transaction
        wire.send(large);
        await this.#read("D", 50);
        wire.destroy();
      },
      "with a result unread, politely": () => {
        wire.send(large);
        wire.end();
      },
      "in the middle of a message": () => {
        wire.send(query(`SELECT '${marker}'`).subarray(0, 9));
        wire.destroy();
      },
      "without a Sync": async () => {
        await this.#ask("ROLLBACK");
        wire.send(parse("", `SELECT '${marker}' FROM public.accounts`), bind("", ""), execute("", 3), flush);
        await this.#read("1");
        wire.destroy();
      },
      "with a pipeline unread": () => {
        wire.send(...Array.from({ length: 20 }, (_, i) => query(`SELECT '${marker}', ${i}`)));
        wire.destroy();
      },
    };
    const way = this.#random.pick(Object.keys(ways));
    this.story.push(`leaves ${way}`);
    await ways[way]?.();
    this.#check({ type: "rest", body: wire.rest });
  }

  async #cancelOwn(): Promise<void> {
    this.#mayBeCancelled = true;
    this.#wire.send(query("SELECT pg_sleep(1)"));
    await this.#sendCancel(this.#wire.key as { pid: number; secret: Buffer });
    await this.#read("Z");
    this.#mayBeCancelled = false;
    this.#totals.cancels++;
  }

  async #cancelStale(): Promise<void> {
    if (staleKeys.length > 0) await this.#sendCancel(this.#random.pick(staleKeys));
    await this.#ask("SELECT pg_sleep(0.01)");
  }

  async #sendCancel(key: { pid: number; secret: Buffer }): Promise<void> {
    const wire = await Wire.dial({ port: this.#fleet.gateway.credentials.pg_port });
    wire.send(cancelRequest(key.pid, key.secret));
    await wire.closed();
  }

  async #dial(): Promise<Wire> {
    const target = this.#fleet.tenant(this.#tenant);
    const wire = await Wire.dial({ port: this.#fleet.gateway.credentials.pg_port });
    const messages = await wire.login(target.user, target.password, target.database);
    for (const message of messages) this.#check(message);
    return wire;
  }

  #ask(sql: string): Promise<Message[]> {
    return this.#exchange([query(sql)]);
  }

  #exchange(messages: readonly Uint8Array[], answers = 1): Promise<Message[]> {
    this.#wire.send(...messages);
    return this.#read("Z", answers);
  }

  async #read(type: string, count = 1): Promise<Message[]> {
    const messages = await this.#wire.readUntil(type, count);
    for (const message of messages) this.#check(message);
    return messages;
  }

  #check(message: Message): void {
    this.#totals.bytes += message.body.length;
    const text = message.body.toString("latin1");
    for (const [found, tenant] of text.matchAll(anyMarker)) {
      if (tenant !== this.#tenant) throw new Error(`${found} was received: ${show(message)}`);
    }
    if (message.type !== "E") return;
    const code = fieldsOf(message).C ?? "";
    if (!expectedErrors.has(code) && !(code === "57014" && this.#mayBeCancelled)) throw new Error(`unexpected: ${show(message)}`);
  }
}
