/** The servers that host databases, for the server's operator: listed with how full they are, added, changed, removed. */
import { z } from "@hono/zod-openapi";
import { type ClusterConnection, type ClusterInfo, operatorsRecord } from "../../core/operations.ts";
import type { ApiContext } from "../context.ts";
import { endpoint } from "../endpoint.ts";
import { answer, badInput, created, ok, paging } from "../envelope.ts";
import { readConnectionUrl } from "../import-shapes.ts";
import { pageOf } from "../page-of.ts";
import { PageQuery } from "../schema.ts";
import { AuditQuery, changesAnswer, operationsOf, pageOfChanges } from "./operations.ts";

const policy = { who: "operator" } as const;
const tags = ["Operations"];

const count = z.number().int();
const clusterFields = {
  id: z.string(),
  name: z.string(),
  server: z.string().nullable().openapi({ description: "Host and port, or socket. Null for a server the configuration has no more." }),
  origin: z
    .enum(["configuration", "api"])
    .nullable()
    .openapi({ description: "Only those added with POST /clusters can be changed and removed here." }),
  isolation_level: z.union([z.literal(1), z.literal(2)]).openapi({ description: "What is placed on it: 1 on the first, 2 on the others." }),
  databases: count.openapi({ description: "Databases on it, spares and templates included." }),
  backend_budget: count.openapi({ description: "Most backend connections of this instance." }),
  backends: z.object({ open: count, idle: count, leased: count }),
  waiting_clients: count,
};
const example = {
  id: "eu2",
  name: "eu2",
  server: "db2.example:5432",
  origin: "api" as const,
  isolation_level: 2 as const,
  databases: 42,
  backend_budget: 200,
  backends: { open: 12, idle: 8, leased: 4 },
  waiting_clients: 0,
};
const Cluster = z.object(clusterFields).openapi("Cluster", { example });

function present({ id, name, server, origin, isolationLevel, databases, budget, open, idle, leased, waiting }: ClusterInfo) {
  return {
    ...{ id, name, server: server ?? null, origin: origin ?? null, isolation_level: isolationLevel, databases },
    ...{ backend_budget: budget, backends: { open, idle, leased }, waiting_clients: waiting },
  };
}

const text = (max: number) =>
  z
    .string()
    .min(1, "must not be empty")
    .max(max, `must have at most ${max} characters`)
    .regex(/^[^\0]*$/, "must not contain NUL");

const ConnectionFields = z.strictObject({
  host: text(255).openapi({ example: "db2.example" }),
  port: z.number("must be a port").int("must be a port").min(1, "must be a port").max(65_535, "must be a port").default(5432),
  user: text(128).openapi({ example: "postgres" }),
  password: z.string().max(1024).default(""),
  database: text(128).default("postgres").openapi({ description: "Where cluster-wide work is done." }),
  sslmode: z.enum(["disable", "require", "verify-full"], "must be disable, require or verify-full").default("require"),
});

const ConnectionUrl = z
  .string()
  .max(4096)
  .transform((url, context): ClusterConnection => {
    const found = readConnectionUrl(url);
    if (found?.engine === "PostgreSQL") {
      const { engine, ...connection } = found;
      return connection;
    }
    context.addIssue({ code: "custom", message: "must be of the form postgresql://user:password@host:5432/postgres?sslmode=require" });
    return z.NEVER;
  })
  .openapi({ example: "postgresql://postgres:secret@db2.example:5432/postgres?sslmode=require" });

const reachFields = {
  connection: z.union([ConnectionUrl, ConnectionFields]).openapi({
    description:
      "As a role that may create databases and roles. Kept sealed, never shown. Loopback, link-local and metadata addresses need `cluster_allow_addresses`.",
  }),
  ca: z.string().max(65_536).startsWith("-----BEGIN CERTIFICATE-----", "must be a certificate in PEM form").optional().openapi({
    description: "PEM: the authority to believe instead of the public ones, with sslmode verify-full.",
    example: "-----BEGIN CERTIFICATE-----\n…\n-----END CERTIFICATE-----\n",
  }),
};

/** @throws {GatewayError} bad_request for an authority that would not be asked. */
function toConnection({ connection, ca }: { connection: ClusterConnection; ca?: string | undefined }): ClusterConnection {
  if (ca === undefined) return connection;
  if (connection.sslmode !== "verify-full") throw badInput([{ path: "ca", message: "is for sslmode verify-full" }]);
  return { ...connection, ca };
}

const params = z.strictObject({ id: z.string().min(1).max(80).openapi({ example: "eu2" }) });

const list = endpoint(
  { policy },
  {
    method: "get",
    path: "/clusters",
    tags,
    summary: "The servers that host databases, and how full they are",
    request: { query: PageQuery },
    responses: { 200: answer(200, "Clusters", { clusters: z.array(Cluster), ...paging }) },
  },
  async (c) => {
    const found = (await operationsOf(c).listClusters()).map(present);
    const { items, ...page } = pageOf(found, c.req.valid("query"), ({ id }) => id);
    return ok(c, { clusters: items, ...page });
  },
);

const add = endpoint(
  { policy },
  {
    method: "post",
    path: "/clusters",
    tags,
    summary: "Add a server to host databases",
    description:
      "It is connected to and looked at first: PostgreSQL 14 or newer, not a standby, not a server that is a cluster already. From then on every instance uses it: `POST /tenants` with its name as `cluster` or with isolation_level 2, `PATCH /tenants/{id}/isolation`.",
    request: {
      body: {
        required: true,
        content: {
          "application/json": {
            schema: z
              .strictObject({
                name: z
                  .string()
                  .regex(/^[a-z][a-z0-9_-]{0,39}$/, "must be 1 to 40 of a-z, 0-9, _ and -, and start with a letter")
                  .openapi({ example: "eu2" }),
                ...reachFields,
              })
              .openapi("ClusterRequest"),
          },
        },
      },
    },
    responses: { 201: answer(201, "Added", clusterFields) },
  },
  async (c) => {
    const { name, ...reach } = c.req.valid("json");
    return created(c, present(await operationsOf(c).addCluster(name, toConnection(reach))));
  },
);

/** For the record of changes. */
async function rememberServer(c: ApiContext, id: string): Promise<void> {
  const found = (await operationsOf(c).listClusters()).find((cluster) => cluster.id === id || cluster.name === id);
  if (found) c.set("before", { server: found.server });
}

const change = endpoint(
  { policy },
  {
    method: "patch",
    path: "/clusters/{id}",
    tags,
    summary: "Change how an added server is reached",
    description: "For a new password, address or certificate. The server must have all databases the cluster has.",
    request: {
      params,
      body: { required: true, content: { "application/json": { schema: z.strictObject(reachFields).openapi("ClusterChange") } } },
    },
    responses: { 200: answer(200, "Changed", clusterFields) },
  },
  async (c) => {
    const { id } = c.req.valid("param");
    await rememberServer(c, id);
    return ok(c, present(await operationsOf(c).changeCluster(id, toConnection(c.req.valid("json")))));
  },
);

const remove = endpoint(
  { policy },
  {
    method: "delete",
    path: "/clusters/{id}",
    tags,
    summary: "Remove an added server that hosts no tenant any more",
    request: { params },
    responses: { 200: answer(200, "Removed", { id: z.string(), message: z.string() }) },
  },
  async (c) => {
    const { id } = c.req.valid("param");
    await rememberServer(c, id);
    await operationsOf(c).removeCluster(id);
    return ok(c, { id, message: `Cluster '${id}' removed` });
  },
);

const audit = endpoint(
  { policy },
  {
    method: "get",
    path: "/clusters/audit",
    tags,
    summary: "What the operator added, changed and removed, when and from where; the newest first",
    description: "As GET /audit, which has the changes of a project. Connections are never recorded, only where the server stands.",
    request: { query: AuditQuery.omit({ credential: true }) },
    responses: { 200: changesAnswer },
  },
  async (c) => ok(c, await pageOfChanges(c, operatorsRecord, c.req.valid("query"))),
);

export const clusterEndpoints = [list, add, change, remove, audit] as const;
