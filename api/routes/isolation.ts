/** Moving a tenant's database between clusters. */
import { z } from "@hono/zod-openapi";
import { endpoint } from "../endpoint.ts";
import { answer, ok } from "../envelope.ts";
import { presentTenant } from "../present.ts";
import { ClusterName, IsolationLevel, tenantFields, WorkspaceName } from "../schema.ts";

const Isolation = z
  .strictObject({ isolation_level: IsolationLevel.optional(), cluster: ClusterName.optional(), blueprint: WorkspaceName.optional() })
  .refine((body) => body.isolation_level !== undefined || body.cluster !== undefined, {
    path: ["isolation_level"],
    message: "say where to: isolation_level, cluster, or both",
  })
  .openapi("Isolation", { example: { isolation_level: 2 } });

const move = endpoint(
  { policy: { who: "P", role: "admin", target: "tenant" } },
  {
    method: "patch",
    path: "/tenants/{id}/isolation",
    tags: ["Tenants"],
    summary: "Move a tenant's database to another cluster",
    description:
      "Answers when it has moved. Connection strings stay as they are. Sessions end between two transactions and reconnect; while the contents are copied and compared, new connections wait up to connect_wait_ms. Refused while a deployment has the tenant in hand, and where its schema is not its version's.",
    request: {
      params: z.object({ id: z.string().openapi({ example: "wayne" }) }),
      body: { required: true, content: { "application/json": { schema: Isolation } } },
    },
    responses: { 200: answer(200, "The tenant", tenantFields) },
  },
  async (c) => {
    const { blueprint, isolation_level, cluster } = c.req.valid("json");
    const { access, tenant, api } = c.var;
    const from = tenant.databases.find((database) => blueprint === undefined || database.blueprint === blueprint);
    if (from) c.set("before", { isolation_level: from.isolationLevel, cluster: from.database?.clusterId ?? null });
    const moved = await api.control.moveTenant(access.projectId, tenant.id, { blueprint, isolationLevel: isolation_level, cluster });
    return ok(
      c,
      presentTenant(api.info, moved, () => true),
    );
  },
);

export const isolationEndpoints = [move] as const;
