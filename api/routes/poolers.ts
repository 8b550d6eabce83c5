/** Files that set up a PgBouncer before a cluster, for the server's operator. */
import { z } from "@hono/zod-openapi";
import { endpoint } from "../endpoint.ts";
import { answer, ok } from "../envelope.ts";
import { operationsOf } from "./operations.ts";

const PoolerQuery = z.strictObject({
  pool_mode: z.enum(["session", "transaction"]).default("session"),
  listen_port: z.coerce.number().int().min(1).max(65_535).default(6432).openapi({ description: "Where PgBouncer is to listen." }),
});

const pgbouncer = endpoint(
  { policy: { who: "operator" } },
  {
    method: "get",
    path: "/clusters/{id}/pgbouncer",
    tags: ["Operations"],
    summary: "Configuration of a PgBouncer between the gateway and a cluster",
    description: "`userlist.txt` holds the SCRAM secrets of the clients' roles as they are now; ask again when tenants were added.",
    request: { params: z.strictObject({ id: z.string().min(1).max(80).openapi({ example: "main" }) }), query: PoolerQuery },
    responses: {
      200: answer(200, "The files", {
        files: z.object({
          "pgbouncer.ini": z.string().openapi({ example: "[databases]\n* = host=10.0.0.5 port=5432\n\n[pgbouncer]\npool_mode = session\n" }),
          "userlist.txt": z.string().openapi({ example: '"tdb_8c1f0a_read" "SCRAM-SHA-256$4096:…"\n' }),
        }),
      }),
    },
  },
  async (c) => {
    const { id } = c.req.valid("param");
    const { pool_mode: poolMode, listen_port: listenPort } = c.req.valid("query");
    return ok(c, { files: await operationsOf(c).describePooler({ cluster: id, poolMode, listenPort }) });
  },
);

export const poolerEndpoints = [pgbouncer] as const;
