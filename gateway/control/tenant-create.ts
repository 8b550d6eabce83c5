/** Creating tenants: out of spares where they are ready, else by copying templates; wholly or not at all. */
import type { Kysely } from "kysely";
import type { NewCredential, NewTenant } from "../../core/control-plane.ts";
import { GatewayError } from "../../core/errors.ts";
import type { PhysicalDatabase, Tenant } from "../../core/model.ts";
import { formatDatabaseName } from "../../core/scope.ts";
import { notifyChange } from "../store/changes.ts";
import type { Tables } from "../store/schema.ts";
import { isUniqueViolation } from "../store/store-errors.ts";
import { type ControlContext, nowDate } from "./context.ts";
import { insertCredential, prepareCredential } from "./credential-secrets.ts";
import { dropDatabases, insertDatabase, logLeftOver, makeDatabaseName, markDatabaseReady } from "./physical.ts";
import { getProject } from "./projects.ts";
import { pushReferenceData } from "./reference-data.ts";
import { refreshSpares } from "./spares.ts";
import { copyTemplate } from "./templates.ts";
import { deployedVersion, removeUnfinishedDatabases, takeSpare } from "./tenant-databases.ts";
import { checkRequest, type PlannedDatabase, type TenantRequest } from "./tenant-plan.ts";
import { findAnyTenant, findTenant, stateConflict } from "./tenant-rows.ts";
import { finishRemovingTenant, removeAbandonedTenant, tenantSubject } from "./tenants.ts";
import { loadVersions } from "./versions.ts";

interface Plan {
  readonly projectId: string;
  readonly tenantId: string;
  readonly databases: readonly PlannedDatabase[];
  /** Undefined when databases are added to a tenant that exists. */
  readonly credential: NewCredential | undefined;
}

/** A database of the plan once it stands. */
interface MadeDatabase {
  readonly planned: PlannedDatabase;
  readonly database: PhysicalDatabase | undefined;
  readonly version: number;
}

/** Makes the content of a new tenant's database. @returns the blueprint version it is at */
export type Fill = (database: PhysicalDatabase, planned: PlannedDatabase) => Promise<number>;

export function createTenant(context: ControlContext, projectId: string, request: TenantRequest): Promise<NewTenant> {
  return create(context, projectId, request, undefined);
}

/** A new tenant whose database is made by `fill` and stays at the version that it has. @throws {GatewayError} conflict when the tenant exists */
export function createTenantFilled(context: ControlContext, projectId: string, request: TenantRequest, fill: Fill): Promise<NewTenant> {
  return create(context, projectId, request, fill);
}

async function create(context: ControlContext, projectId: string, request: TenantRequest, fill: Fill | undefined): Promise<NewTenant> {
  const project = await getProject(context, projectId);
  const secrets = prepareCredential(context, project, {
    name: `tenant ${request.tenantId}`,
    role: "admin",
    scope: { type: "tenant", values: [request.tenantId] },
    expiresAt: undefined,
  });
  const known = findAnyTenant(context.store.db, projectId, request.tenantId);
  const [databases, credential, found] = await Promise.all([checkRequest(context, projectId, request), secrets, known]);
  const existing = await settleExisting(context, found);
  if (existing && fill) throw stateConflict(existing.id, existing.state === "suspended" ? "ready" : existing.state);
  if (existing) refuseRepeats(existing, databases);
  const plan: Plan = { projectId, tenantId: request.tenantId, databases, credential: existing ? undefined : credential };
  const made = (fill ? undefined : await createFromSpares(context, plan)) ?? (await createByCopying(context, plan, fill));
  for (const { planned } of made) if (planned.clusterId !== undefined) refreshSpares(context, planned.workspace.id);
  return await describe(context, plan, made);
}

/** A creation that died half way is cleared away before the next. */
async function settleExisting(context: ControlContext, existing: Tenant | undefined): Promise<Tenant | undefined> {
  if (existing?.state !== "creating") return existing;
  if (!(await removeAbandonedTenant(context, existing.projectId, existing.id))) throw stateConflict(existing.id, "creating");
  return undefined;
}

/** @throws {GatewayError} conflict unless every database asked for is new to a tenant that can take it. */
function refuseRepeats(existing: Tenant, databases: readonly PlannedDatabase[]): void {
  if (existing.state !== "ready" && existing.state !== "suspended") throw stateConflict(existing.id, existing.state);
  for (const { workspace } of databases) {
    const known = existing.databases.find((entry) => entry.engine === workspace.engine);
    if (known?.workspaceId === workspace.id) throw stateConflict(existing.id, "ready");
    if (known) {
      throw new GatewayError(
        "conflict",
        `Tenant '${existing.id}' already has a ${known.engine} database, of blueprint '${known.blueprint}'; a tenant has one blueprint per engine`,
      );
    }
  }
}

/** One transaction, nothing but rows. @returns undefined when a spare is missing. */
async function createFromSpares(context: ControlContext, plan: Plan): Promise<readonly MadeDatabase[] | undefined> {
  const noSpare = Symbol();
  try {
    return await context.store.transaction(async (trx) => {
      await claimId(context, trx, plan, "ready");
      const made: MadeDatabase[] = [];
      for (const planned of inLockOrder(plan.databases)) {
        const spare = planned.clusterId === undefined ? undefined : await takeSpare(trx, planned.workspace.id, planned.clusterId);
        if (planned.clusterId !== undefined && !spare) throw noSpare;
        // In this transaction: the tenant is there when it commits, and its rows with it.
        if (spare) await pushReferenceData(context, planned.workspace.id, spare.database);
        made.push({ planned, database: spare?.database, version: spare?.version ?? 0 });
      }
      for (const entry of made) await insertTenantDatabase(trx, plan, entry, "ready", null);
      await finish(trx, plan);
      return made;
    });
  } catch (error) {
    if (error === noSpare) return undefined;
    throw explain(error, plan);
  }
}

/** Workspace rows are locked in one order, so that two creations cannot wait for each other. */
function inLockOrder(databases: readonly PlannedDatabase[]): readonly PlannedDatabase[] {
  return [...databases].sort((a, b) => (a.workspace.id < b.workspace.id ? -1 : 1));
}

/** Rows that say what is being made, then the copies, then ready. @throws after taking back what it made. */
async function createByCopying(context: ControlContext, plan: Plan, fill: Fill | undefined): Promise<readonly MadeDatabase[]> {
  return await context.claims.hold(tenantSubject(plan.projectId, plan.tenantId), async () => {
    const recorded = await recordCreation(context, plan);
    const databases = recorded.flatMap((entry) => entry.database ?? []);
    try {
      const made = await Promise.all(recorded.map((entry) => copy(context, entry, fill)));
      return await settle(context, plan, made, fill === undefined);
    } catch (error) {
      await takeBack(context, plan, databases);
      throw error;
    }
  });
}

async function recordCreation(context: ControlContext, plan: Plan): Promise<readonly MadeDatabase[]> {
  try {
    return await context.store.transaction(async (trx) => {
      await claimId(context, trx, plan, "creating");
      const recorded: MadeDatabase[] = [];
      for (const planned of inLockOrder(plan.databases)) {
        await lockBlueprint(trx, planned);
        const { clusterId, workspace } = planned;
        const database =
          clusterId === undefined
            ? undefined
            : await insertDatabase(context, trx, {
                name: makeDatabaseName(context),
                projectId: plan.projectId,
                workspaceId: workspace.id,
                clusterId,
                kind: "tenant",
              });
        const entry = { planned, database, version: 0 };
        await insertTenantDatabase(trx, plan, entry, "creating", context.claims.key);
        recorded.push(entry);
      }
      await notifyChange(trx, { projectId: plan.projectId, tenantId: plan.tenantId });
      return recorded;
    });
  } catch (error) {
    throw explain(error, plan);
  }
}

async function copy(context: ControlContext, entry: MadeDatabase, fill: Fill | undefined): Promise<MadeDatabase> {
  const { database, planned } = entry;
  if (!database) return entry;
  if (fill) return { ...entry, version: await fill(database, planned) };
  const version = await copyTemplate(context, planned.workspace, planned.version, database);
  await pushReferenceData(context, planned.workspace.id, database);
  return { ...entry, version };
}

/**
 * Makes the tenant ready. Under the blueprint's row lock a deployment either sees it, or is seen here:
 * one to a newer version recorded meanwhile has not listed this tenant, so what it brings is applied first.
 */
async function settle(context: ControlContext, plan: Plan, copied: readonly MadeDatabase[], catchUp: boolean): Promise<readonly MadeDatabase[]> {
  for (let made = copied; ; ) {
    const behind = await context.store.transaction((trx) => settleOnce(context, trx, plan, made, catchUp));
    if (behind.size === 0) return made;
    made = await Promise.all(made.map((entry) => bringUp(context, entry, behind.get(entry.planned.workspace.id))));
  }
}

/** @returns the versions to reach first, by workspace; nothing was changed when there are any. */
async function settleOnce(
  context: ControlContext,
  trx: Kysely<Tables>,
  plan: Plan,
  made: readonly MadeDatabase[],
  catchUp: boolean,
): Promise<Map<string, number>> {
  const behind = new Map<string, number>();
  for (const { planned, database, version } of made) {
    await lockBlueprint(trx, planned);
    const deployed = database && catchUp ? await deployedVersion(trx, planned.workspace.id) : 0;
    if (deployed > version) behind.set(planned.workspace.id, deployed);
  }
  if (behind.size > 0) return behind;
  for (const { planned, database, version } of made) {
    if (database && !(await markDatabaseReady(context, trx, database.name, version))) throw lostClaim(plan);
    await trx
      .updateTable("tenant_databases")
      .set({ state: "ready", version, claimed_by: null })
      .where("project_id", "=", plan.projectId)
      .where("tenant_id", "=", plan.tenantId)
      .where("workspace_id", "=", planned.workspace.id)
      .execute();
  }
  if (plan.credential) await markTenantReady(context, trx, plan);
  await finish(trx, plan);
  return behind;
}

async function markTenantReady(context: ControlContext, trx: Kysely<Tables>, plan: Plan): Promise<void> {
  const done = await trx
    .updateTable("tenants")
    .set({ state: "ready", claimed_by: null })
    .where("project_id", "=", plan.projectId)
    .where("id", "=", plan.tenantId)
    .where("state", "=", "creating")
    .where("claimed_by", "=", context.claims.key)
    .executeTakeFirst();
  if (done.numUpdatedRows === 0n) throw lostClaim(plan);
}

async function bringUp(context: ControlContext, entry: MadeDatabase, version: number | undefined): Promise<MadeDatabase> {
  if (version === undefined || !entry.database) return entry;
  const versions = await loadVersions(context.store.db, entry.planned.workspace.id, version);
  const { toVersion } = await context.admin.applyVersions(entry.database, versions, { lockTimeoutMs: 10_000, attempts: 3 });
  return { ...entry, version: toVersion };
}

/** A new tenant goes altogether; one that was there before only loses what was being added. */
async function takeBack(context: ControlContext, plan: Plan, databases: readonly PhysicalDatabase[]): Promise<void> {
  try {
    await dropDatabases(context, databases); // whatever became of their rows meanwhile
    if (plan.credential) await finishRemovingTenant(context, plan.projectId, plan.tenantId);
    else await removeUnfinishedDatabases(context, plan.projectId, plan.tenantId);
  } catch (error) {
    logLeftOver(context, "tenant", error);
  }
}

/** Inserts the tenant, or locks the one that databases are added to. */
async function claimId(context: ControlContext, trx: Kysely<Tables>, plan: Plan, state: "ready" | "creating"): Promise<void> {
  if (plan.credential) {
    const claimed_by = state === "creating" ? context.claims.key : null;
    await trx
      .insertInto("tenants")
      .values({ project_id: plan.projectId, id: plan.tenantId, state, claimed_by, created_at: nowDate(context) })
      .execute();
    return;
  }
  const row = await trx
    .selectFrom("tenants")
    .select("state")
    .where("project_id", "=", plan.projectId)
    .where("id", "=", plan.tenantId)
    .forUpdate()
    .executeTakeFirst();
  if (row?.state !== "ready" && row?.state !== "suspended") throw stateConflict(plan.tenantId, row?.state ?? "deleting");
}

async function lockBlueprint(trx: Kysely<Tables>, planned: PlannedDatabase): Promise<void> {
  const row = await trx.selectFrom("workspaces").select("state").where("id", "=", planned.workspace.id).forShare().executeTakeFirst();
  if (row?.state !== "ready") throw new GatewayError("conflict", `Blueprint '${planned.workspace.name}' is being deleted`);
}

async function insertTenantDatabase(
  trx: Kysely<Tables>,
  plan: Plan,
  entry: MadeDatabase,
  state: "creating" | "ready",
  claimedBy: number | null,
): Promise<void> {
  await trx
    .insertInto("tenant_databases")
    .values({
      project_id: plan.projectId,
      tenant_id: plan.tenantId,
      workspace_id: entry.planned.workspace.id,
      engine: entry.planned.workspace.engine,
      isolation_level: entry.planned.isolationLevel,
      database_name: entry.database?.name ?? null,
      version: entry.version,
      settings: "{}",
      state,
      claimed_by: claimedBy,
    })
    .execute();
}

async function finish(trx: Kysely<Tables>, plan: Plan): Promise<void> {
  if (plan.credential) await insertCredential(trx, plan.credential);
  await notifyChange(trx, { projectId: plan.projectId, tenantId: plan.tenantId });
}

/** Two at once: the database lets one through, the other hears what it would have heard a moment later. */
function explain(error: unknown, plan: Plan): unknown {
  if (isUniqueViolation(error, "tenants_pkey") || isUniqueViolation(error, "tenant_databases_pkey")) return stateConflict(plan.tenantId, "ready");
  if (isUniqueViolation(error, "one_blueprint_per_engine")) {
    return new GatewayError("conflict", `Tenant '${plan.tenantId}' already has a database of this engine; a tenant has one blueprint per engine`);
  }
  return error;
}

function lostClaim(plan: Plan): GatewayError {
  return new GatewayError("conflict", `Tenant '${plan.tenantId}' was removed while it was being created`);
}

async function describe(context: ControlContext, plan: Plan, made: readonly MadeDatabase[]): Promise<NewTenant> {
  return {
    tenant: await findTenant(context.store.db, plan.projectId, plan.tenantId),
    databases: plan.databases.map((planned) => ({
      blueprint: planned.workspace.name,
      engine: planned.workspace.engine,
      databaseName: formatDatabaseName({ kind: "tenant", workspace: planned.workspace.name, tenant: plan.tenantId }),
      version: made.find((entry) => entry.planned === planned)?.version ?? 0,
      isolationLevel: planned.isolationLevel,
    })),
    credential: plan.credential,
  };
}
