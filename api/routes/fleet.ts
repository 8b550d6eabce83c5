/** Fleet truth: how many tenants are where, and whose schema is not what its version says. */
import { z } from "@hono/zod-openapi";
import type { DriftedTenant as DriftedTenantModel, FleetStatus as FleetStatusModel } from "../../core/fleet.ts";
import { endpoint } from "../endpoint.ts";
import { answer, ok, paging } from "../envelope.ts";
import { isoTime, maybeTime, readPage } from "../present.ts";
import { BlueprintParams, MaybeTime, PageQuery, Time } from "../schema.ts";

export const FleetStatus = z
  .object({
    summary: z.string(),
    tenants: z.number().int(),
    current: z.number().int().openapi({ description: "At the newest version." }),
    drifted: z.number().int().openapi({ description: "Whose schema is not their version's; GET /blueprints/{name}/drift names them." }),
    unchecked: z.number().int().openapi({ description: "Not compared since their version last changed." }),
    oldest_check_at: MaybeTime,
  })
  .openapi("FleetStatus", {
    example: {
      summary: "9 of 10 tenants at version 3",
      tenants: 10,
      current: 9,
      drifted: 0,
      unchecked: 1,
      oldest_check_at: "2026-01-15T09:30:00.000Z",
    },
  });

export function presentFleet(fleet: FleetStatusModel) {
  const { version, tenants, current, drifted, unchecked } = fleet;
  const summary = `${current} of ${tenants} tenants at version ${version}${drifted > 0 ? `, ${drifted} drifted` : ""}`;
  return { summary, tenants, current, drifted, unchecked, oldest_check_at: maybeTime(fleet.oldestCheckAt) };
}

const DriftedTenant = z
  .object({
    tenant_id: z.string(),
    version: z.number().int(),
    checked_at: Time,
    differences: z.array(
      z.object({
        kind: z.string(),
        name: z.string(),
        change: z.enum(["missing", "unexpected", "changed"]),
        expected: z.string().nullable(),
        found: z.string().nullable(),
      }),
    ),
  })
  .openapi("DriftedTenant", {
    example: {
      tenant_id: "wayne",
      version: 3,
      checked_at: "2026-01-15T09:30:00.000Z",
      differences: [{ kind: "index", name: "public.by_hand", change: "unexpected", expected: null, found: "CREATE INDEX by_hand ON …" }],
    },
  });

const drift = endpoint(
  { policy: { who: "W", role: "read", target: "blueprint" } },
  {
    method: "get",
    path: "/blueprints/{name}/drift",
    tags: ["Blueprints"],
    summary: "Tenants whose schema is not what their version says, with the differences",
    description:
      "Found in the background, by comparing each tenant with a database of its version; at most 100 differences are told of each. Only somebody with the database server's own rights can make them.",
    request: { params: BlueprintParams, query: PageQuery },
    responses: { 200: answer(200, "Drifted tenants", { fleet: FleetStatus, tenants: z.array(DriftedTenant), ...paging }) },
  },
  async (c) => {
    const { workspace, access, api } = c.var;
    const { items, nextCursor } = await api.control.listDrift(access.projectId, workspace.name, readPage(c.req.valid("query")));
    const fleet = presentFleet(await api.control.getFleet(access.projectId, workspace.name));
    return ok(c, { fleet, tenants: items.map(presentDrifted), count: items.length, next_cursor: nextCursor ?? null });
  },
);

function presentDrifted(tenant: DriftedTenantModel) {
  const differences = tenant.differences.map(({ expected, found, ...rest }) => ({ ...rest, expected: expected ?? null, found: found ?? null }));
  return { tenant_id: tenant.tenantId, version: tenant.version, checked_at: isoTime(tenant.checkedAt), differences };
}

export const fleetEndpoints = [drift] as const;
