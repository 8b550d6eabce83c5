/** A new master key taken into use while everything runs: derived passwords are set anew, database by database; open sessions notice nothing. */
import type { Clock } from "../core/clock.ts";
import type { Log } from "../core/log.ts";
import type { PhysicalDatabase } from "../core/model.ts";
import { type Secrets, toHex } from "../core/secrets.ts";
import { forgetPrevious, type MasterKeys } from "./master-key.ts";
import { physicalOf } from "./store/rows.ts";
import type { Store } from "./store/store.ts";

export interface RekeyDeps {
  readonly store: Store;
  readonly secrets: Secrets;
  readonly clock: Clock;
  readonly log: Log;
  /** Reads file or environment again. */
  readonly loadKeys: () => Promise<MasterKeys>;
  /** The gateway's own file, which it may take the previous key out of. */
  readonly ownFile: string | undefined;
  /** Undefined where the server is somebody else's. */
  readonly setSuperuserPassword: ((keys: MasterKeys) => Promise<void>) | undefined;
  /** Gives all roles of a database the passwords of the key in use. */
  readonly rekeyRoles: (database: PhysicalDatabase) => Promise<void>;
}

const retryMs = 60_000;
const batch = 100;

export class Rekeying {
  readonly #deps: RekeyDeps;
  #keys: MasterKeys;
  #working: Promise<void> | undefined;
  #isPending = false;
  #stopped = false;
  readonly #stopRetries: () => void;

  constructor(deps: RekeyDeps, keys: MasterKeys) {
    this.#deps = deps;
    this.#keys = keys;
    this.#stopRetries = deps.clock.every(retryMs, () => {
      if (this.#isPending) this.#begin();
    });
  }

  /** Compares the key with the one the store's databases are under. @throws Error for a key that was rotated away. */
  async start(): Promise<void> {
    const now = fingerprint(this.#deps.secrets, this.#keys.current);
    const { db } = this.#deps.store;
    const known = this.#keys.previous ? fingerprint(this.#deps.secrets, this.#keys.previous) : now;
    await db
      .insertInto("meta")
      .values({ key: "native_key", value: known })
      .onConflict((oc) => oc.column("key").doNothing())
      .execute();
    const { current, retired } = await this.#read();
    if (retired.includes(now)) {
      throw new Error("this master key has been rotated away: give the new file, which another instance of this installation has");
    }
    if (current !== now) this.#begin();
    else await this.#finishFile();
  }

  /** After SIGHUP: takes a changed key into use. The superuser's password comes first, since everything else is done with it. */
  async check(): Promise<void> {
    const keys = await this.#deps.loadKeys();
    if (toHex(keys.current) === toHex(this.#keys.current)) return;
    if (toHex(keys.lookup) !== toHex(this.#keys.lookup)) {
      throw new Error('the new master key has no "lookup" line with the old one\'s: make it with `tdb master-key rotate`');
    }
    await this.#working;
    await this.#deps.setSuperuserPassword?.(keys);
    this.#deps.secrets.rekey(keys.current);
    this.#keys = keys;
    this.#deps.log.write("info", "master key changed; passwords of native roles are being set anew");
    this.#begin();
  }

  /** Resolves when what was begun is done or given up for now. */
  async settled(): Promise<void> {
    await this.#working;
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#stopRetries();
    await this.#working;
  }

  #begin(): void {
    this.#isPending = true;
    this.#working ??= this.#run().finally(() => {
      this.#working = undefined;
    });
  }

  async #run(): Promise<void> {
    const { store, secrets, log } = this.#deps;
    const now = fingerprint(secrets, this.#keys.current);
    try {
      await store.withLock("rekey", "exclusive", async () => {
        const { current, retired } = await this.#read();
        if (current !== now) {
          const failed = await this.#rekeyAll();
          if (failed > 0 || this.#stopped) return;
          const values = [
            { key: "native_key", value: now },
            { key: "native_keys_retired", value: [...retired, current].join(" ") },
          ];
          await store.db
            .insertInto("meta")
            .values(values)
            .onConflict((oc) => oc.column("key").doUpdateSet((eb) => ({ value: eb.ref("excluded.value") })))
            .execute();
          log.write("info", "master key rotated: all native roles have passwords of the new one");
        }
        this.#isPending = false;
      });
      if (!this.#isPending) await this.#finishFile();
    } catch (error) {
      log.write("warn", "master key not rotated yet, tried again in a minute", { error: String(error) });
    }
  }

  /** @returns how many databases could not be reached; their roles get the new password when somebody logs in, or in the next round. */
  async #rekeyAll(): Promise<number> {
    const { store, log } = this.#deps;
    let failed = 0;
    for (let after = ""; !this.#stopped; ) {
      const rows = await store.db.selectFrom("databases").selectAll().where("name", ">", after).orderBy("name").limit(batch).execute();
      for (const row of rows) {
        if (this.#stopped) break;
        try {
          await this.#deps.rekeyRoles(physicalOf(row));
        } catch (error) {
          failed++;
          log.write("warn", "passwords of a database not set anew", { database: row.name, cluster: row.cluster_id, error: String(error) });
        }
      }
      const last = rows.at(-1);
      if (!last) return failed;
      after = last.name;
    }
    return failed;
  }

  async #finishFile(): Promise<void> {
    const { ownFile, log } = this.#deps;
    if (!this.#keys.previous) return;
    if (ownFile === undefined) log.write("info", 'the "previous" line of the master key is needed no longer');
    else if (await forgetPrevious(ownFile, this.#keys)) this.#keys = { ...this.#keys, previous: undefined };
  }

  async #read(): Promise<{ current: string; retired: string[] }> {
    const rows = await this.#deps.store.db.selectFrom("meta").selectAll().where("key", "in", ["native_key", "native_keys_retired"]).execute();
    const of = (key: string) => rows.find((row) => row.key === key)?.value ?? "";
    return { current: of("native_key"), retired: of("native_keys_retired").split(" ").filter(Boolean) };
  }
}

/** Names a key without telling it. */
function fingerprint({ crypto }: Secrets, key: Uint8Array): string {
  return toHex(crypto.hmacSha256(key, new TextEncoder().encode("fingerprint of a master key")));
}
