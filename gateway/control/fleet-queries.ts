/** One statement in many tenants' databases: a few at a time, answers as they come, ended when nobody reads them any more. */
import type { QueryRequest, TenantAnswer } from "../../core/control-plane.ts";
import { GatewayError } from "../../core/errors.ts";
import type { ControlContext } from "./context.ts";
import { queryTenant } from "./queries.ts";
import { pageTenants } from "./tenant-rows.ts";
import { findBlueprint } from "./workspace-rows.ts";

/** Tenant ids fetched at a time. */
const pageSize = 500;

export interface FleetQuery {
  readonly blueprint: string;
  readonly tenants: "all" | readonly string[];
  readonly request: QueryRequest;
  readonly concurrency: number;
}

export async function* queryTenants(
  context: ControlContext,
  projectId: string,
  input: FleetQuery,
  signal: AbortSignal,
): AsyncGenerator<TenantAnswer> {
  const { name } = await findBlueprint(context.store.db, projectId, input.blueprint);
  const ids = input.tenants === "all" ? allTenants(context, projectId, name) : input.tenants.values();
  const stop = new AbortController();
  const over = AbortSignal.any([signal, stop.signal]);
  const running = new Map<string, Promise<TenantAnswer>>();
  try {
    for await (const tenantId of ids) {
      if (over.aborted) return;
      running.set(tenantId, ask(context, projectId, tenantId, { ...input.request, blueprint: name }, over));
      if (running.size >= input.concurrency) yield await next(running);
    }
    while (running.size > 0 && !over.aborted) yield await next(running);
  } finally {
    stop.abort(new Error("the answers are no longer read"));
    await Promise.allSettled(running.values());
  }
}

/** The first to end, taken out. */
async function next(running: Map<string, Promise<TenantAnswer>>): Promise<TenantAnswer> {
  const first = await Promise.race(running.values());
  running.delete(first.tenantId);
  return first;
}

async function ask(
  context: ControlContext,
  projectId: string,
  tenantId: string,
  request: QueryRequest & { blueprint: string },
  signal: AbortSignal,
): Promise<TenantAnswer> {
  try {
    return { tenantId, answer: await queryTenant(context, projectId, tenantId, "admin", request, signal), error: undefined };
  } catch (error) {
    if (error instanceof GatewayError) return { tenantId, answer: undefined, error };
    const reason = error instanceof Error ? error.message : String(error);
    context.log.write("error", "statement for a tenant failed", { tenant: tenantId, reason });
    return { tenantId, answer: undefined, error: new GatewayError("internal_error", "internal error; see the gateway's log") };
  }
}

/** Those that can be asked: neither being made nor in the trash. */
async function* allTenants(context: ControlContext, projectId: string, blueprint: string): AsyncGenerator<string> {
  for (let afterId: string | undefined; ; ) {
    const rows = await pageTenants(context.store.db, projectId, { limit: pageSize, afterId, workspaces: [blueprint] });
    for (const row of rows) if (row.state === "ready" || row.state === "suspended") yield row.id;
    if (rows.length < pageSize) return;
    afterId = rows.at(-1)?.id;
  }
}
