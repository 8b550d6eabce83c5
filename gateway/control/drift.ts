/** Drift: tenants whose schema is not what their version says, found in the background by comparing with a database of that version. */
import { sql } from "kysely";
import type { SchemaObject } from "../../core/cluster-admin.ts";
import type { Listing, Page } from "../../core/control-plane.ts";
import type { DriftedTenant, FleetStatus, SchemaDifference } from "../../core/fleet.ts";
import type { PhysicalDatabase } from "../../core/model.ts";
import { physicalOf, toMs } from "../store/rows.ts";
import { type ControlContext, nowDate } from "./context.ts";
import { decodeCursor, pageLimit, toListing } from "./paging.ts";
import { versionSchema } from "./version-schemas.ts";
import { findBlueprint } from "./workspace-rows.ts";

/** Tenants looked at in one round; a round is made each second, so that is also most per second and instance. */
const perRound = 5;
/** Told of each tenant. Who dropped a schema by hand need not be told of every column. */
const maxDifferences = 100;

/** Rounds left out where nobody was due: at ten thousand tenants the question alone takes milliseconds. */
const restRounds = 20;

interface Due {
  readonly project_id: string;
  readonly tenant_id: string;
  readonly workspace_id: string;
  readonly version: number;
  readonly name: string;
  readonly cluster_id: string;
  readonly password_generation: number;
}

/** @returns a function that ends the looking. */
export function watchDrift(context: ControlContext): () => void {
  let rest = restRounds; // what a start has to do comes first
  return context.clock.every(1_000, () => {
    if (rest-- > 0) return;
    context.background.runOnce("drift", async () => {
      rest = (await checkDrift(context)) === 0 ? restRounds : 0;
    });
  });
}

/** Looks at a few of those whose last look is longest ago. @returns how many. */
export async function checkDrift(context: ControlContext, limit = perRound): Promise<number> {
  if (context.config.driftCheckIntervalS === 0) return 0;
  const due = await findDue(context, limit);
  for (const tenant of due) {
    if (context.background.stopped) break;
    await check(context, tenant).catch((error: unknown) => {
      const reason = error instanceof Error ? error.message : String(error);
      context.log.write("debug", "schema not compared", { tenant: tenant.tenant_id, reason });
    });
  }
  return due.length;
}

/** Those never looked at, or not since their version changed, come first. Tenants in a deployment that runs are left for later. */
async function findDue(context: ControlContext, limit: number): Promise<readonly Due[]> {
  const before = new Date(context.clock.wallMs() - context.config.driftCheckIntervalS * 1000);
  const found = await sql<Due>`
    select td.project_id, td.tenant_id, td.workspace_id, td.version, d.name, d.cluster_id, d.password_generation
    from tenantry.tenant_databases td
    join tenantry.tenants t on t.project_id = td.project_id and t.id = td.tenant_id and t.state in ('ready', 'suspended')
    join tenantry.databases d on d.name = td.database_name and d.state = 'ready'
    left join tenantry.schema_checks s on s.project_id = td.project_id and s.tenant_id = td.tenant_id and s.workspace_id = td.workspace_id
    where td.state = 'ready' and td.version > 0 and (s.checked_at is null or s.version <> td.version or s.checked_at < ${before})
      and not exists (select 1 from tenantry.deployments o where o.workspace_id = td.workspace_id and o.state in ('queued', 'running'))
    order by s.checked_at nulls first limit ${limit}`.execute(context.store.db);
  return found.rows;
}

async function check(context: ControlContext, tenant: Due): Promise<void> {
  const database: PhysicalDatabase = physicalOf(tenant);
  const expected = await versionSchema(context, tenant, database.clusterId);
  if (!expected) return; // its blueprint is being deleted, or no longer makes that version
  const found = await context.admin.readSchemaObjects(database);
  const differences = compare(expected.objects, found);
  // A deployment may have come between; the next look is at what it made.
  if ((await context.admin.readAppliedVersion(database)) !== tenant.version) return;
  await sql`
    insert into tenantry.schema_checks (project_id, tenant_id, workspace_id, version, drifted, difference, checked_at)
    select td.project_id, td.tenant_id, td.workspace_id, td.version, ${differences.length > 0},
      ${differences.length > 0 ? JSON.stringify(differences.slice(0, maxDifferences)) : null}::jsonb, ${nowDate(context)}
    from tenantry.tenant_databases td
    where td.project_id = ${tenant.project_id} and td.tenant_id = ${tenant.tenant_id} and td.workspace_id = ${tenant.workspace_id}
      and td.version = ${tenant.version}
    on conflict (project_id, tenant_id, workspace_id) do update
      set version = excluded.version, drifted = excluded.drifted, difference = excluded.difference, checked_at = excluded.checked_at`.execute(
    context.store.db,
  );
  if (differences.length > 0) {
    context.log.write("warn", "schema of a tenant is not its version's", {
      tenant: tenant.tenant_id,
      version: tenant.version,
      differences: differences.length,
    });
  }
}

/** Of each kind, names are unique, a few overloaded things excepted: those are compared by their definition as well. */
export function compare(expected: readonly SchemaObject[], found: readonly SchemaObject[]): SchemaDifference[] {
  const keyOf = ({ kind, name }: SchemaObject) => `${kind} ${name}`;
  const here = new Map(found.map((object) => [keyOf(object), object]));
  const there = new Map(expected.map((object) => [keyOf(object), object]));
  const differences: SchemaDifference[] = [];
  for (const [key, { kind, name, definition }] of there) {
    const own = here.get(key);
    if (!own) differences.push({ kind, name, change: "missing", expected: definition, found: undefined });
    else if (own.definition !== definition) differences.push({ kind, name, change: "changed", expected: definition, found: own.definition });
  }
  for (const [key, { kind, name, definition }] of here) {
    if (!there.has(key)) differences.push({ kind, name, change: "unexpected", expected: undefined, found: definition });
  }
  return differences;
}

export async function getFleet(context: ControlContext, projectId: string, name: string): Promise<FleetStatus> {
  const workspace = await findBlueprint(context.store.db, projectId, name);
  const { version } = workspace;
  const [counts, checks] = await Promise.all([
    sql<{ tenants: number; current: number }>`
      select count(*) as tenants, count(*) filter (where version = ${version}) as current
      from tenantry.tenant_databases where workspace_id = ${workspace.id} and state = 'ready'`.execute(context.store.db),
    sql<{ checked: number; drifted: number; oldest: Date | null }>`
      select count(*) as checked, count(*) filter (where s.drifted) as drifted, min(s.checked_at) as oldest
      from tenantry.schema_checks s join tenantry.tenant_databases td using (project_id, tenant_id, workspace_id, version)
      where s.workspace_id = ${workspace.id} and td.state = 'ready'`.execute(context.store.db),
  ]);
  const { tenants, current } = counts.rows[0]!;
  const { checked, drifted, oldest } = checks.rows[0]!;
  return { version, tenants, current, drifted, unchecked: tenants - checked, oldestCheckAt: toMs(oldest) };
}

export async function listDrift(context: ControlContext, projectId: string, name: string, page: Page): Promise<Listing<DriftedTenant>> {
  const workspace = await findBlueprint(context.store.db, projectId, name);
  const after = page.cursor === undefined ? "" : String(decodeCursor(page.cursor, ["string"])[0]);
  const rows = await context.store.db
    .selectFrom("schema_checks as s")
    .innerJoin("tenant_databases as td", (join) =>
      join
        .onRef("td.project_id", "=", "s.project_id")
        .onRef("td.tenant_id", "=", "s.tenant_id")
        .onRef("td.workspace_id", "=", "s.workspace_id")
        .onRef("td.version", "=", "s.version"),
    )
    .select(["s.tenant_id", "s.version", "s.checked_at", "s.difference"])
    .where("s.workspace_id", "=", workspace.id)
    .where("s.drifted", "=", true)
    .where("s.tenant_id", ">", after)
    .orderBy("s.tenant_id")
    .limit(pageLimit(page) + 1)
    .execute();
  return toListing(
    rows,
    page,
    (row) => ({ tenantId: row.tenant_id, version: row.version, checkedAt: toMs(row.checked_at), differences: row.difference ?? [] }),
    (row) => [row.tenant_id],
  );
}
