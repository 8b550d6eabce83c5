/** What instances tell each other, as LISTEN/NOTIFY payloads sent inside the transaction they are about. */
import { type Kysely, sql } from "kysely";
import type { Change } from "../../core/directory.ts";
import type { Tables } from "./schema.ts";

export const changeChannel = "tenantry_changes";
/** Progress of deployments, apart from changes because it invalidates nothing. Payload: the deployment's id. */
export const deploymentChannel = "tenantry_deployments";

/** Between instances that keep a tenant's clients waiting; see gateway/control/tenant-holds.ts. */
export const holdChannel = "tenantry_holds";

/** What instances ask each other; see gateway/operations/instances.ts. */
export const questionChannel = "tenantry_questions";

/** Servers that host databases were added, changed or removed; no payload, the store has the list. */
export const clusterChannel = "tenantry_clusters";

/** Announces a change; it is delivered when the transaction commits, and never when it does not. */
export async function notifyChange(db: Kysely<Tables>, change: Change): Promise<void> {
  await sql`select pg_notify(${changeChannel}, ${JSON.stringify(change)})`.execute(db);
}

export async function notifyClusters(db: Kysely<Tables>): Promise<void> {
  await sql`select pg_notify(${clusterChannel}, '')`.execute(db);
}

export async function notifyDeployment(db: Kysely<Tables>, deploymentId: string): Promise<void> {
  await sql`select pg_notify(${deploymentChannel}, ${deploymentId})`.execute(db);
}

/** @returns undefined for anything that is not a change, as from another program on the same channel. */
export function parseChange(payload: string): Change | undefined {
  let value: unknown;
  try {
    value = JSON.parse(payload);
  } catch {
    return undefined;
  }
  if (typeof value !== "object" || value === null) return undefined;
  return typeof (value as Change).projectId === "string" ? (value as Change) : undefined;
}
