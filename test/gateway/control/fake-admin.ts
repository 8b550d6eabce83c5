/** A cluster in memory: what was asked of it, what it holds, and failures on demand. Shared by instances, as a real one is. */
import type { ApplyOptions, ApplyResult, CapturedDdl, ClusterAdmin, QueryAnswer, QueryInput, SchemaObject } from "../../../core/cluster-admin.ts";
import { GatewayError } from "../../../core/errors.ts";
import type { BlueprintVersion, PhysicalDatabase } from "../../../core/model.ts";

interface FakeDatabase {
  readonly kind: "workspace" | "template" | "tenant" | "copy";
  version: number;
  connectable: boolean;
  readonly ddl: CapturedDdl[];
  /** Tells copies apart where a test needs to know which template was copied. */
  readonly copyOf?: string;
}

type Method = Exclude<keyof ClusterAdmin, "then">;
type Trap = (database: PhysicalDatabase) => Promise<void> | void;

export class FakeAdmin implements ClusterAdmin {
  readonly databases = new Map<string, FakeDatabase>();
  readonly calls: string[] = [];
  /** Version numbers that cannot be applied, with the message; to one database or to all. */
  readonly broken = new Map<number, string>();
  readonly brokenIn = new Map<string, string>();
  readonly #traps = new Map<Method, Trap[]>();
  readonly planted = new Map<string, readonly SchemaObject[]>();
  answer: Partial<QueryAnswer> = {};
  lastQuery: QueryInput | undefined;

  /** The next call of `method` goes through `trap` before it does anything; a trap may throw or wait. */
  trapNext(method: Method, trap: Trap): void {
    const waiting = this.#traps.get(method) ?? [];
    this.#traps.set(method, [...waiting, trap]);
  }

  /** Runs DDL in a workspace, as a client would. */
  runDdl(workspace: PhysicalDatabase, ...statements: string[]): void {
    const { ddl } = this.#get(workspace);
    for (const sql of statements) {
      ddl.push({
        ddlId: ddl.length + 1,
        sql,
        commandTag: "CREATE TABLE",
        searchPath: "public",
        settings: {},
        transactional: true,
        capturedAt: 1_700_000_000_000,
      });
    }
  }

  async createWorkspaceDatabase(database: PhysicalDatabase): Promise<void> {
    await this.#enter("createWorkspaceDatabase", database);
    if (!this.databases.has(database.name)) this.#put(database, { kind: "workspace", version: 0, connectable: true, ddl: [] });
  }

  async refreshWorkspaceDatabase(database: PhysicalDatabase): Promise<void> {
    await this.#enter("refreshWorkspaceDatabase", database);
  }

  async createTemplateDatabase(database: PhysicalDatabase): Promise<void> {
    await this.#enter("createTemplateDatabase", database);
    if (!this.databases.has(database.name)) this.#put(database, { kind: "template", version: 0, connectable: false, ddl: [] });
  }

  async createTenantDatabase(database: PhysicalDatabase, template: PhysicalDatabase): Promise<void> {
    await this.#enter("createTenantDatabase", database);
    const { version } = this.#get(template);
    this.#put(database, { kind: "tenant", version, connectable: true, ddl: [], copyOf: template.name });
  }

  async createScratchCopy(database: PhysicalDatabase, source: PhysicalDatabase): Promise<void> {
    await this.#enter("createScratchCopy", database);
    const { version } = this.#get(source);
    this.#put(database, { kind: "copy", version, connectable: false, ddl: [], copyOf: source.name });
  }

  async copyContents(source: PhysicalDatabase, target: PhysicalDatabase): Promise<void> {
    await this.#enter("copyContents", source);
    this.#get(target);
  }

  async openToClients(database: PhysicalDatabase): Promise<void> {
    await this.#enter("openToClients", database);
    this.#get(database).connectable = true;
  }

  async countClientSessions(): Promise<number> {
    return 0;
  }

  async dropDatabase(database: PhysicalDatabase): Promise<void> {
    await this.#enter("dropDatabase", database);
    this.databases.delete(database.name);
  }

  async setConnectable(database: PhysicalDatabase, allowed: boolean): Promise<void> {
    await this.#enter("setConnectable", database);
    this.#get(database).connectable = allowed;
  }

  async readCapturedDdl(database: PhysicalDatabase, afterDdlId: number): Promise<readonly CapturedDdl[]> {
    await this.#enter("readCapturedDdl", database);
    return this.#get(database).ddl.filter((row) => row.ddlId > afterDdlId);
  }

  async readAppliedVersion(database: PhysicalDatabase): Promise<number> {
    await this.#enter("readAppliedVersion", database);
    return this.#get(database).version;
  }

  async applyVersions(database: PhysicalDatabase, versions: readonly BlueprintVersion[], options: ApplyOptions): Promise<ApplyResult> {
    const stopped = new Promise<never>((_, reject) => options.signal?.addEventListener("abort", () => reject(options.signal?.reason)));
    await Promise.race([this.#enter("applyVersions", database), stopped]);
    const known = this.#get(database);
    const fromVersion = known.version;
    const todo = versions.filter((v) => v.version > fromVersion);
    const fault =
      todo.map((v) => this.broken.get(v.version)).find((message) => message !== undefined) ??
      (todo.length > 0 ? this.brokenIn.get(database.name) : undefined);
    if (fault !== undefined) throw new GatewayError("query_failed", fault, { sqlstate: "42P07" });
    known.version = todo.at(-1)?.version ?? fromVersion;
    return { fromVersion, toVersion: known.version, attempts: 1 };
  }

  async describeSchema() {
    return [];
  }

  /** Its version, and what was planted by hand. */
  async readSchemaObjects(database: PhysicalDatabase) {
    await this.#enter("readSchemaObjects", database);
    const object = { kind: "table", name: "public.t1", definition: `as of version ${this.#get(database).version}` };
    return [object, ...(this.planted.get(database.name) ?? [])];
  }

  async runQuery(database: PhysicalDatabase, role: string, input: QueryInput): Promise<QueryAnswer> {
    await this.#enter("runQuery", database);
    this.lastQuery = input;
    return { columns: [], rows: [[role]], row_count: 1, execution_time_ms: 1, truncated: false, command: "SELECT", bytes: 4, ...this.answer };
  }

  async runScript(): Promise<void> {}

  async ping(): Promise<boolean> {
    return true;
  }

  async #enter(method: Method, database: PhysicalDatabase): Promise<void> {
    this.calls.push(`${method} ${database.name}`);
    const [trap, ...rest] = this.#traps.get(method) ?? [];
    this.#traps.set(method, rest);
    await trap?.(database);
  }

  #put(database: PhysicalDatabase, entry: FakeDatabase): void {
    this.databases.set(database.name, entry);
  }

  #get(database: PhysicalDatabase): FakeDatabase {
    const found = this.databases.get(database.name);
    if (!found) throw new GatewayError("backend_unreachable", `no database ${database.name} on this cluster`);
    return found;
  }
}
