/** Answers the data path's two questions from the store: a project's SCRAM parameters, and what a database name means and who may reach it. */
import { type Kysely, type Selectable, sql } from "kysely";
import type { Clock } from "../../core/clock.ts";
import type { Change, ProjectKeys, Route, RouteSource, RouteTarget } from "../../core/directory.ts";
import { type Credential, defaultDatabaseSettings, type TenantState } from "../../core/model.ts";
import { type DatabaseName, parseDatabaseName } from "../../core/scope.ts";
import { type PhysicalColumns, toBytes, toCredential, toPhysical, toVerifier } from "./rows.ts";
import type { CredentialRow, Tables, VerifierRow, WorkspaceRow } from "./schema.ts";
import { translateStoreError } from "./store-errors.ts";

/** Most credentials tried at a login of those that reach all of a project, of those that name the workspace, and of those that name the tenant. */
export const maxCandidates = 200;
/** Most credentials of other tenants tried, so that a wrong scope gets its own message. */
const maxOthers = 32;

interface TargetRow extends PhysicalColumns {
  readonly workspace_id: string;
  readonly workspace: string;
  readonly workspace_state: WorkspaceRow["state"];
  readonly engine: WorkspaceRow["engine"];
  readonly mode: WorkspaceRow["mode"];
  readonly redirect_to: string | null;
  readonly workspace_settings: object;
  readonly tenant_id: string | null;
  readonly tenant_state: TenantState | null;
  readonly tenant_database_state: "creating" | "ready" | null;
  readonly tenant_settings: object | null;
  readonly held: boolean | null;
}

type ReachRow = Selectable<CredentialRow> & Selectable<VerifierRow> & { readonly part: "project" | "workspace" | "tenant" | "other" };

export class StoreRouteSource implements RouteSource {
  readonly #db: Kysely<Tables>;
  readonly #clock: Clock;
  readonly #subscribe: RouteSource["onChange"];

  constructor(db: Kysely<Tables>, clock: Clock, subscribe: RouteSource["onChange"]) {
    this.#db = db;
    this.#clock = clock;
    this.#subscribe = subscribe;
  }

  async findProjectKeys(projectId: string): Promise<ProjectKeys | undefined> {
    return await this.#asking(async () => {
      const row = await this.#db
        .selectFrom("projects")
        .select(["id", "scram_salt", "scram_iterations", "client_certificates"])
        .where("id", "=", projectId)
        .where("state", "=", "ready")
        .executeTakeFirst();
      return (
        row && {
          projectId: row.id,
          scramSalt: toBytes(row.scram_salt),
          scramIterations: row.scram_iterations,
          clientCertificates: row.client_certificates ?? undefined,
        }
      );
    });
  }

  async findRoute(projectId: string, databaseName: string): Promise<Route> {
    const name = parseDatabaseName(databaseName);
    return await this.#asking(async () => {
      const [target, reach] = await Promise.all([name ? this.#findTarget(projectId, name) : undefined, this.#findReach(projectId, name)]);
      const tenants = credentialsOf(reach, "tenant");
      const others = credentialsOf(reach, "other");
      const broad = [...credentialsOf(reach, "workspace"), ...credentialsOf(reach, "project")];
      return target
        ? { projectId, databaseName, target, candidates: [...tenants, ...broad], others }
        : { projectId, databaseName, target, candidates: broad, others: [...tenants, ...others].slice(0, maxOthers) };
    });
  }

  async findUsable(projectId: string, credentialIds: readonly string[]): Promise<ReadonlySet<string>> {
    const now = new Date(this.#clock.wallMs());
    return await this.#asking(async () => {
      const rows = await this.#db
        .selectFrom("credentials")
        .select("id")
        .where("project_id", "=", projectId)
        .where("id", "in", credentialIds)
        .where("revoked_at", "is", null)
        .where(sql<boolean>`(expires_at is null or expires_at > ${now})`)
        .execute();
      return new Set(rows.map(({ id }) => id));
    });
  }

  onChange(listener: (change: Change | undefined) => void): () => void {
    return this.#subscribe(listener);
  }

  async #findTarget(projectId: string, name: DatabaseName): Promise<RouteTarget | undefined> {
    const tenantId = name.kind === "tenant" ? name.tenant : null;
    const found = await sql<TargetRow>`
      select w.id as workspace_id, w.name as workspace, w.state as workspace_state, w.engine, w.mode, w.redirect_to, w.settings as workspace_settings,
        t.id as tenant_id, t.state as tenant_state, td.state as tenant_database_state, td.settings as tenant_settings, td.held,
        d.name as database_name, d.cluster_id, d.password_generation
      from tenantry.workspaces w
      join tenantry.projects p on p.id = w.project_id and p.state = 'ready'
      left join tenantry.tenant_databases td on td.project_id = w.project_id and td.workspace_id = w.id and td.tenant_id = ${tenantId}::text
      left join tenantry.tenants t on t.project_id = td.project_id and t.id = td.tenant_id
      left join tenantry.databases d on d.name = case when ${tenantId}::text is null then w.database_name else td.database_name end
      where w.project_id = ${projectId} and w.name = ${name.workspace}`.execute(this.#db);
    const row = found.rows[0];
    if (!row) return undefined;
    if (tenantId !== null && (row.tenant_id === null || row.tenant_state === "deleting")) return undefined;
    return toTarget(row);
  }

  /** Live credentials by what they reach, each with its live verifiers, one row per verifier. */
  async #findReach(projectId: string, name: DatabaseName | undefined): Promise<readonly ReachRow[]> {
    const now = new Date(this.#clock.wallMs());
    const tenantId = name?.kind === "tenant" ? name.tenant : null;
    const live = sql`c.project_id = ${projectId} and c.revoked_at is null and (c.expires_at is null or c.expires_at > ${now})`;
    const found = await sql<ReachRow>`
      with reach as (
        (select c.id, 'project' as part from tenantry.credentials c where ${live} and c.scope_type = 'project'
          order by c.created_at desc limit ${maxCandidates})
        union all
        (select c.id, 'workspace' from tenantry.credentials c where ${live} and c.scope_type = 'workspace'
          order by c.scope_values @> array[${name?.workspace ?? ""}]::text[] desc, c.created_at desc limit ${maxCandidates})
        union all
        (select c.id, 'tenant' from tenantry.credentials c
          where ${live} and c.scope_type = 'tenant' and ${tenantId}::text is not null and c.scope_values @> array[${tenantId}]::text[]
          order by c.created_at desc limit ${maxCandidates})
        union all
        (select c.id, 'other' from tenantry.credentials c
          where ${live} and c.scope_type = 'tenant' and (${tenantId}::text is null or not c.scope_values @> array[${tenantId}]::text[])
          order by c.created_at desc limit ${maxOthers})
      )
      select c.*, v.*, reach.part from reach
      join tenantry.credentials c on c.id = reach.id
      join tenantry.verifiers v on v.credential_id = c.id
      where v.valid_until is null or v.valid_until > ${now}
      order by c.created_at desc, c.id`.execute(this.#db);
    return found.rows;
  }

  async #asking<T>(ask: () => Promise<T>): Promise<T> {
    try {
      return await ask();
    } catch (error) {
      throw translateStoreError(error, "store_unavailable");
    }
  }
}

function toTarget(row: TargetRow): RouteTarget {
  const tenant = row.tenant_id !== null && row.tenant_state !== null ? { id: row.tenant_id, state: stateOf(row.tenant_state, row) } : undefined;
  return {
    workspaceId: row.workspace_id,
    workspace: row.workspace,
    workspaceState: row.workspace_state,
    engine: row.engine,
    redirectTo: row.redirect_to ?? undefined,
    mode: row.mode,
    tenant,
    database: toPhysical(row),
    settings: { ...defaultDatabaseSettings, ...row.workspace_settings, ...row.tenant_settings },
    isHeld: row.held === true,
  };
}

/** A database being added to a tenant that is ready is not ready itself. */
function stateOf(state: TenantState, row: TargetRow): TenantState {
  return state === "ready" && row.tenant_database_state === "creating" ? "creating" : state;
}

function credentialsOf(rows: readonly ReachRow[], part: ReachRow["part"]): Credential[] {
  const byId = new Map<string, ReachRow[]>();
  for (const row of rows) {
    if (row.part !== part) continue;
    const known = byId.get(row.id);
    if (known) known.push(row);
    else byId.set(row.id, [row]);
  }
  return [...byId.values()].map((group) => toCredential(group[0]!, group.map(toVerifier)));
}
