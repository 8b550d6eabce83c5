/** Servers added, changed and removed by the operator while everything runs. */
import { GatewayError } from "../../core/errors.ts";
import type { ClusterConnection } from "../../core/operations.ts";
import type { SqlDialer } from "../../core/sql.ts";
import { type ControlContext, nowDate } from "../control/context.ts";
import { dropTemplates } from "../control/templates.ts";
import type { OutboundRules } from "../outbound/addresses.ts";
import { seal } from "../sealed.ts";
import { notifyClusters } from "../store/changes.ts";
import { isForeignKeyViolation } from "../store/store-errors.ts";
import { type Clusters, connectionPurpose } from "./clusters.ts";
import { assertVersion, inspectServer, type ServerFacts, systemIdSql } from "./inspect-server.ts";

export interface ManageDeps {
  readonly clusters: Clusters;
  readonly context: ControlContext;
  readonly dialer: Pick<SqlDialer, "asAdmin">;
  readonly rules: () => OutboundRules;
  readonly isStrict: () => boolean;
}

export interface ClusterManager {
  add(name: string, connection: ClusterConnection): Promise<void>;
  change(id: string, connection: ClusterConnection): Promise<void>;
  remove(id: string): Promise<void>;
}

/** One change at a time, over all instances: two that add the same server would not see each other. */
export function manageClusters(deps: ManageDeps): ClusterManager {
  const alone = (work: () => Promise<void>) => deps.context.store.withLock("clusters", "exclusive", work);
  return {
    add: (name, connection) => alone(() => add(deps, name, connection)),
    change: (id, connection) => alone(() => change(deps, id, connection)),
    remove: (id) => alone(() => remove(deps, id)),
  };
}

async function add(deps: ManageDeps, name: string, connection: ClusterConnection): Promise<void> {
  const { clusters, context } = deps;
  await clusters.refresh();
  if (clusters.get(name)) throw new GatewayError("conflict", `Cluster '${name}' exists already`);
  const expected = await databasesOf(deps, name);
  const facts = await inspectServer(connection, deps.rules(), expected);
  assertVersion(facts, deps.isStrict());
  assertHasAll(facts, expected, name);
  await assertUnknown(deps, facts, connection);
  const sealed = await seal(context.secrets, { purpose: connectionPurpose, id: name }, connection);
  await context.store.transaction(async (trx) => {
    await trx
      .insertInto("clusters")
      .values({ id: name, name, created_at: nowDate(context), connection: sealed })
      .onConflict((oc) => oc.column("id").doUpdateSet({ connection: sealed })) // once the configuration's
      .execute();
    await notifyClusters(trx);
  });
  await clusters.refresh();
  context.log.write("info", "cluster added", { cluster: name, server: `${connection.host}:${connection.port}` });
}

async function change(deps: ManageDeps, id: string, connection: ClusterConnection): Promise<void> {
  const { clusters, context } = deps;
  await clusters.refresh();
  assertAdded(deps, id);
  const expected = await databasesOf(deps, id);
  const facts = await inspectServer(connection, deps.rules(), expected);
  assertVersion(facts, deps.isStrict());
  assertHasAll(facts, expected, id);
  await assertUnknown(deps, facts, connection, id);
  const sealed = await seal(context.secrets, { purpose: connectionPurpose, id }, connection);
  await context.store.transaction(async (trx) => {
    await trx.updateTable("clusters").set({ connection: sealed }).where("id", "=", id).execute();
    await notifyClusters(trx);
  });
  await clusters.refresh();
  context.log.write("info", "cluster changed", { cluster: id, server: `${connection.host}:${connection.port}` });
}

/** Templates are copies anybody can make again: they go with it. */
async function remove(deps: ManageDeps, id: string): Promise<void> {
  const { clusters, context } = deps;
  await clusters.refresh();
  assertAdded(deps, id);
  const rows = await context.store.db.selectFrom("databases").select("kind").where("cluster_id", "=", id).execute();
  const staying = rows.filter(({ kind }) => kind !== "template").length;
  if (staying > 0) {
    throw new GatewayError("conflict", `Cluster '${id}' has ${staying} database${staying === 1 ? "" : "s"}: move or delete its tenants first`, {
      hint: "PATCH /tenants/{id}/isolation moves one; tenants in the trash count until they are deleted.",
    });
  }
  await dropTemplates(context, id);
  try {
    await context.store.transaction(async (trx) => {
      await trx.deleteFrom("clusters").where("id", "=", id).execute();
      await notifyClusters(trx);
    });
  } catch (error) {
    if (!isForeignKeyViolation(error)) throw error;
    throw new GatewayError("conflict", `Cluster '${id}' has just been given a database`, { cause: error });
  }
  await clusters.refresh();
  context.log.write("info", "cluster removed", { cluster: id });
}

function assertAdded({ clusters }: ManageDeps, id: string): void {
  const known = clusters.get(id);
  if (!known) throw new GatewayError("not_found", `Cluster not found: ${id}`);
  if (known.origin === "configuration") {
    throw new GatewayError("forbidden", `Cluster '${id}' is in the gateway's configuration: change it there, then restart the gateway`);
  }
}

/** Names of those that exist, whatever they are for. */
async function databasesOf({ context }: ManageDeps, clusterId: string): Promise<readonly string[]> {
  const rows = await context.store.db
    .selectFrom("databases")
    .select("name")
    .where("cluster_id", "=", clusterId)
    .where("state", "=", "ready")
    .execute();
  return rows.map(({ name }) => name);
}

/** A cluster that has databases stays that cluster: what is behind its name may move, not be replaced. */
function assertHasAll({ has }: ServerFacts, expected: readonly string[], id: string): void {
  const missing = expected.filter((name) => !has.includes(name));
  if (missing.length === 0) return;
  throw new GatewayError("conflict", `the server lacks ${missing.length} of the ${expected.length} databases that cluster '${id}' has`, {
    hint: "Give the server that has them; a new server needs a new name.",
  });
}

/** One server under two names would be given twice its budget, and databases twice. `except`: the cluster itself. */
async function assertUnknown(deps: ManageDeps, facts: ServerFacts, connection: ClusterConnection, except?: string): Promise<void> {
  for (const server of deps.clusters.servers()) {
    if (server.id === except) continue;
    const { host, port } = server.target;
    const isSame =
      (host === connection.host && port === connection.port) ||
      (facts.systemId !== undefined && facts.systemId === (await systemIdOf(deps, server.id)));
    if (isSame) throw new GatewayError("conflict", `that server is cluster '${server.id}' already`);
  }
}

/** @returns undefined where it does not answer, or does not tell. */
async function systemIdOf({ dialer, context }: ManageDeps, id: string): Promise<string | undefined> {
  try {
    const connection = await dialer.asAdmin(id);
    try {
      return String((await connection.query(systemIdSql)).rows[0]?.id);
    } finally {
      await connection.close();
    }
  } catch (error) {
    context.log.write("debug", "cluster not compared with the one that is added", { cluster: id, reason: String(error) });
    return undefined;
  }
}
