/** What listeners that redirect ask the store: whose secret this is, and which databases it reaches. */
import { type Kysely, sql } from "kysely";
import type { Clock } from "../../core/clock.ts";
import type { RouteSource } from "../../core/directory.ts";
import { credentialGone } from "../../core/live.ts";
import { makeRoom } from "../../core/make-room.ts";
import type { Credential } from "../../core/model.ts";
import { formatDatabaseName } from "../../core/scope.ts";
import { toCredential, toVerifier } from "./rows.ts";
import type { Tables } from "./schema.ts";
import { translateStoreError } from "./store-errors.ts";

/** How long a credential is believed without asking again, where no change is announced. */
const freshMs = 60_000;
const maxEntries = 10_000;
const maxDatabases = 1000;
/** How often a look-up that is overtaken by changes is made again. */
const maxTries = 5;

interface Entry {
  readonly credential: Credential;
  readonly atMs: number;
}

/** Known credentials by keyed hash; forgotten as soon as anything of their project changes. Unknown secrets are not kept. */
export class CredentialLookup {
  readonly #db: Kysely<Tables>;
  readonly #clock: Clock;
  readonly #entries = new Map<string, Entry>();
  readonly #unsubscribe: () => void;
  #changes = 0;

  constructor(db: Kysely<Tables>, clock: Clock, onChange: RouteSource["onChange"]) {
    this.#db = db;
    this.#clock = clock;
    this.#unsubscribe = onChange((change) => this.#forget(change?.projectId));
  }

  stop(): void {
    this.#unsubscribe();
  }

  /** @throws {GatewayError} store_unavailable, when it is not known either. */
  async findCredential(lookupHash: string): Promise<Credential | undefined> {
    const known = this.#entries.get(lookupHash);
    if (known && this.#clock.nowMs() - known.atMs < freshMs) return known.credential;
    try {
      for (let tries = 1; ; tries++) {
        const changes = this.#changes;
        const credential = await this.#readCredential(lookupHash);
        // What was read before a change must not be acted upon after it.
        if (changes !== this.#changes && tries < maxTries) continue;
        this.#entries.delete(lookupHash);
        if (credential && changes === this.#changes) this.#remember(lookupHash, credential);
        return credential;
      }
    } catch (error) {
      if (known) return known.credential; // the data plane outlives the store
      throw translateStoreError(error, "store_unavailable");
    }
  }

  /** Names as clients spell them, workspaces before tenants. @throws {GatewayError} revoked, store_unavailable. */
  async listDatabases(credential: Credential): Promise<readonly string[]> {
    try {
      if (!(await this.#isLive(credential.id))) throw credentialGone();
      const workspaces = await this.#listWorkspaces(credential);
      const tenants = await this.#listTenants(credential);
      return [...workspaces, ...tenants].slice(0, maxDatabases);
    } catch (error) {
      throw translateStoreError(error, "store_unavailable");
    }
  }

  async #readCredential(lookupHash: string): Promise<Credential | undefined> {
    const now = new Date(this.#clock.wallMs());
    const row = await this.#db
      .selectFrom("credentials as c")
      .innerJoin("projects as p", "p.id", "c.project_id")
      .innerJoin("verifiers as v", "v.credential_id", "c.id")
      .selectAll("c")
      .where("v.lookup_hash", "=", lookupHash)
      .where("p.state", "=", "ready")
      .where("c.revoked_at", "is", null)
      .where(sql<boolean>`(c.expires_at is null or c.expires_at > ${now})`)
      .executeTakeFirst();
    if (!row) return undefined;
    const verifiers = await this.#db
      .selectFrom("verifiers")
      .selectAll()
      .where("credential_id", "=", row.id)
      .where(sql<boolean>`(valid_until is null or valid_until > ${now})`)
      .execute();
    return toCredential(row, verifiers.map(toVerifier));
  }

  /** A client may have been connected for long. */
  async #isLive(credentialId: string): Promise<boolean> {
    const now = new Date(this.#clock.wallMs());
    const row = await this.#db
      .selectFrom("credentials")
      .select("id")
      .where("id", "=", credentialId)
      .where("revoked_at", "is", null)
      .where(sql<boolean>`(expires_at is null or expires_at > ${now})`)
      .executeTakeFirst();
    return row !== undefined;
  }

  async #listWorkspaces({ projectId, scope }: Credential): Promise<string[]> {
    if (scope.type === "tenant") return [];
    let query = this.#db.selectFrom("workspaces").select("name").where("project_id", "=", projectId).where("state", "=", "ready");
    if (scope.type === "workspace") query = query.where("name", "in", scope.values);
    const rows = await query.orderBy("name").limit(maxDatabases).execute();
    return rows.map(({ name }) => formatDatabaseName({ kind: "workspace", workspace: name }));
  }

  async #listTenants({ projectId, scope }: Credential): Promise<string[]> {
    if (scope.type === "project") return [];
    const rows = await this.#db
      .selectFrom("tenant_databases as d")
      .innerJoin("workspaces as w", "w.id", "d.workspace_id")
      .innerJoin("tenants as t", (join) => join.onRef("t.project_id", "=", "d.project_id").onRef("t.id", "=", "d.tenant_id"))
      .select(["w.name as workspace", "t.id as tenant"])
      .where("d.project_id", "=", projectId)
      .where("d.state", "=", "ready")
      .where("t.state", "in", ["ready", "suspended"])
      .where(scope.type === "workspace" ? "w.name" : "t.id", "in", scope.values)
      .orderBy("w.name")
      .orderBy("t.id")
      .limit(maxDatabases)
      .execute();
    return rows.map((row) => formatDatabaseName({ kind: "tenant", ...row }));
  }

  #forget(projectId: string | undefined): void {
    this.#changes++;
    if (projectId === undefined) {
      this.#entries.clear();
      return;
    }
    for (const [hash, { credential }] of this.#entries) if (credential.projectId === projectId) this.#entries.delete(hash);
  }

  #remember(lookupHash: string, credential: Credential): void {
    makeRoom(this.#entries, maxEntries);
    this.#entries.set(lookupHash, { credential, atMs: this.#clock.nowMs() });
  }
}
