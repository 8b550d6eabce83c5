/** Designing a workspace's schema: what is not deployed yet, what to pass over or undo, what to load, whose rows travel. */
import { z } from "@hono/zod-openapi";
import { GatewayError } from "../../core/errors.ts";
import { type JsonTable, type SchemaDesign, type SourceConnection, templateNames } from "../../core/schema-design.ts";
import type { ApiContext } from "../context.ts";
import { endpoint } from "../endpoint.ts";
import { answer, badInput, created, ok, paging } from "../envelope.ts";
import { pageOf } from "../page-of.ts";
import { presentVersion } from "../present.ts";
import { BlueprintVersion, PageQuery, Table, WorkspaceParams } from "../schema.ts";

const tags = ["Schema"];
const read = { who: "W", role: "read", target: "workspace" } as const;
const change = { who: "W", role: "admin", target: "workspace" } as const;

/** Larger than a script may be, since JSON escapes what is in it. */
const loadBodyBytes = 10 * 1024 * 1024;

export function designOf(c: ApiContext): SchemaDesign {
  const { design } = c.var.api;
  if (!design) throw new GatewayError("forbidden", "this server has no part for designing schemas");
  return design;
}

const PendingChange = z.object({ ...BlueprintVersion.shape, tenants_behind: z.number().int() }).openapi("PendingChange", {
  example: {
    ...{ version: 4, ddl_id: 9, sql: "ALTER TABLE accounts ADD COLUMN plan text", command_tag: "ALTER TABLE", search_path: '"$user", public' },
    ...{ transactional: true, skipped: false, captured_at: "2026-01-15T09:30:00.000Z", tenants_behind: 2 },
  },
});

const diff = endpoint(
  { policy: read },
  {
    method: "get",
    path: "/workspaces/{id}/diff",
    tags,
    summary: "Captured DDL that is not on every tenant yet",
    description: "Oldest first, in the order it would be deployed. Skipped changes are not among it; without tenants it is everything.",
    request: { params: WorkspaceParams, query: PageQuery },
    responses: {
      200: answer(200, "What a deployment would bring", {
        version: z.number().int().openapi({ description: "The newest version.", example: 4 }),
        tenant_count: z.number().int().openapi({ example: 2 }),
        changes: z.array(PendingChange),
        ...paging,
      }),
    },
  },
  async (c) => {
    const { version, tenants, changes } = await designOf(c).listPending(c.var.access.projectId, c.var.workspace.id);
    const { items, ...page } = pageOf(changes, c.req.valid("query"), (each) => String(each.version).padStart(10, "0"));
    const shown = items.map((each) => ({ ...presentVersion(each), tenants_behind: each.tenantsBehind }));
    return ok(c, { version, tenant_count: tenants, changes: shown, ...page });
  },
);

const ChangeParams = WorkspaceParams.extend({
  ddl_id: z.string().openapi({ type: "integer", description: "As the diff shows it.", example: "9" }),
});

function readDdlId(text: string): number {
  if (!/^[1-9]\d{0,14}$/.test(text)) throw badInput([{ path: "ddl_id", message: "must be an integer from 1" }]);
  return Number(text);
}

const skip = endpoint(
  { policy: change },
  {
    method: "delete",
    path: "/workspaces/{id}/diff/{ddl_id}",
    tags,
    summary: "Skip a change: tenants never get it, the workspace keeps it",
    description:
      "Deployments, templates and new tenants pass over the version from now on. `conflict` when a tenant has it already, or a deployment is bringing it. Later changes that need it fail where it is missing: skip those as well.",
    request: { params: ChangeParams },
    responses: { 200: answer(200, "The skipped version", { ...BlueprintVersion.shape, message: z.string() }) },
  },
  async (c) => {
    const skipped = await designOf(c).skipChange(c.var.access.projectId, c.var.workspace.id, readDdlId(c.req.valid("param").ddl_id));
    return ok(c, { ...presentVersion(skipped), message: `Version ${skipped.version} is skipped` });
  },
);

const revert = endpoint(
  { policy: change },
  {
    method: "post",
    path: "/workspaces/{id}/diff/{ddl_id}/revert",
    tags,
    summary: "Undo a change in the workspace",
    description:
      "Runs the inverse statement, which is captured like any other. Where no tenant has the change and nothing came after it, both are skipped; else both are deployed in order. `conflict` says why where there is no inverse, as for a dropped column.",
    request: { params: ChangeParams },
    responses: {
      200: answer(200, "What was undone, and by what", {
        reverted: BlueprintVersion,
        undone_by: z.array(BlueprintVersion),
        skipped: z.boolean().openapi({ description: "True when no tenant will see either." }),
      }),
    },
  },
  async (c) => {
    const { reverted, undoneBy, skipped } = await designOf(c).revertChange(
      c.var.access.projectId,
      c.var.workspace.id,
      readDdlId(c.req.valid("param").ddl_id),
    );
    return ok(c, { reverted: presentVersion(reverted), undone_by: undoneBy.map(presentVersion), skipped });
  },
);

const show = endpoint(
  { policy: read },
  {
    method: "get",
    path: "/workspaces/{id}/schema",
    tags,
    summary: "Tables and columns of a workspace as it is",
    request: { params: WorkspaceParams },
    responses: { 200: answer(200, "The schema", { version: z.number().int(), table_count: z.number().int(), tables: z.array(Table) }) },
  },
  async (c) => {
    const { version, tables } = await designOf(c).readSchema(c.var.access.projectId, c.var.workspace.id);
    return ok(c, { version, table_count: tables.length, tables: await presentTables(c, tables) });
  },
);

type Shapes = Awaited<ReturnType<SchemaDesign["readSchema"]>>["tables"];

/** With the mark of those whose rows travel. */
export async function presentTables(c: ApiContext, tables: Shapes) {
  const marked =
    c.var.workspace.mode === "tenant" && tables.length > 0 ? await designOf(c).listReferenceTables(c.var.access.projectId, c.var.workspace.id) : [];
  return tables.map((table) => ({
    ...table,
    columns: table.columns.map((column) => ({ ...column })),
    deploy_data: marked.some((each) => each.schema === table.schema && each.name === table.name),
  }));
}

const text = (max: number) =>
  z
    .string()
    .min(1, "must not be empty")
    .max(max, `must have at most ${max} characters`)
    .regex(/^[^\0]*$/, "must not contain NUL");
const name = text(63);

const Column = z
  .strictObject({
    name,
    type: text(200).openapi({ description: "As PostgreSQL writes it.", example: "numeric(10,2)" }),
    nullable: z.boolean().default(true),
    default: text(1000).optional().openapi({ description: "An SQL expression; text is quoted.", example: "'new'" }),
    unique: z.boolean().default(false),
    primary_key: z.boolean().default(false),
    identity: z.boolean().default(false).openapi({ description: "Numbers itself." }),
    references: z
      .strictObject({ table: text(127), column: name.default("id"), on_delete: z.enum(["cascade", "restrict", "set null"]).optional() })
      .optional(),
  })
  .openapi("NewColumn");
const NewTable = z
  .strictObject({
    schema: name.optional(),
    name,
    columns: z.array(Column).min(1, "must have at least one column").max(1600),
    primary_key: z.array(name).min(1).optional().openapi({ description: "Where it has several columns." }),
    indexes: z.array(z.strictObject({ columns: z.array(name).min(1), unique: z.boolean().default(false), name: name.optional() })).default([]),
  })
  .openapi("NewTable");
const Connection = z
  .strictObject({
    type: z.enum(["PostgreSQL", "MySQL"], "must be PostgreSQL or MySQL").default("PostgreSQL"),
    host: text(253).openapi({ example: "db.example" }),
    port: z.number().int().min(1).max(65_535).optional().openapi({ description: "5432 or 3306 unless told." }),
    database: name,
    user: name,
    password: z.string().max(1000).default(""),
    tls: z
      .enum(["verify", "require", "prefer", "off"], "must be verify, require, prefer or off")
      .default("prefer")
      .openapi({ description: "verify checks the server's certificate and name." }),
  })
  .openapi("SourceConnection");
const LoadBody = z
  .discriminatedUnion("source", [
    z.strictObject({ source: z.literal("template"), template: z.enum(templateNames, `must be one of ${templateNames.join(", ")}`) }),
    z.strictObject({ source: z.literal("json"), tables: z.array(NewTable).min(1, "must have at least one table").max(1000) }),
    z.strictObject({
      source: z.literal("sql"),
      sql: z
        .string()
        .min(1, "must not be empty")
        .regex(/^[^\0]*$/, "must not contain NUL"),
    }),
    z.strictObject({ source: z.literal("database"), connection: Connection }),
  ])
  .openapi("SchemaSource", { example: { source: "template", template: "saas" } });

const load = endpoint(
  { policy: change, maxBodyBytes: loadBodyBytes },
  {
    method: "post",
    path: "/workspaces/{id}/schema",
    tags,
    summary: "Load a schema: a template, JSON, SQL text, or another database's structure",
    description:
      "All or nothing; what is loaded is captured as versions. Of a PostgreSQL or MySQL server only the structure is read; `lost` lists what could not be brought along. Addresses in loopback, link-local and private networks are refused unless the server's operator allows them.",
    request: { params: WorkspaceParams, body: { required: true, content: { "application/json": { schema: LoadBody } } } },
    responses: {
      201: answer(201, "What it became", {
        version: z.number().int(),
        statements: z.number().int().openapi({ description: "How many versions were added.", example: 12 }),
        versions: z.array(BlueprintVersion),
        lost: z.array(z.string()).openapi({ description: "What the source had and this schema has not.", example: ["view monthly_totals"] }),
      }),
    },
  },
  async (c) => {
    const body = c.req.valid("json");
    const source =
      body.source === "json"
        ? { source: body.source, tables: body.tables.map(readTable) }
        : body.source === "database"
          ? { source: body.source, connection: readConnection(body.connection) }
          : body;
    const loaded = await designOf(c).loadSchema(c.var.access.projectId, c.var.workspace.id, source);
    const versions = loaded.versions.map(presentVersion);
    return created(c, { version: loaded.version, statements: versions.length, versions, lost: [...loaded.lost] });
  },
);

function readTable(table: z.infer<typeof NewTable>): JsonTable {
  return {
    ...table,
    primaryKey: table.primary_key,
    columns: table.columns.map(({ primary_key, references, ...column }) => ({
      ...column,
      primaryKey: primary_key,
      references: references && { table: references.table, column: references.column, onDelete: references.on_delete },
    })),
  };
}

function readConnection(connection: z.infer<typeof Connection>): SourceConnection {
  return { ...connection, port: connection.port ?? (connection.type === "MySQL" ? 3306 : 5432) };
}

const mark = endpoint(
  { policy: change },
  {
    method: "patch",
    path: "/workspaces/{id}/tables/{name}",
    tags,
    summary: "Make a table reference data: its rows travel to tenants",
    description:
      "With every deployment and to every new tenant, by primary key: rows that are missing are added, rows that differ are made equal to the workspace's, all others are left alone. Nothing is ever deleted.",
    request: {
      params: WorkspaceParams.extend({ name: z.string().openapi({ description: "`name` or `schema.name`.", example: "plans" }) }),
      body: { required: true, content: { "application/json": { schema: z.strictObject({ deploy_data: z.boolean("must be true or false") }) } } },
    },
    responses: { 200: answer(200, "The table", { schema: z.string(), name: z.string(), deploy_data: z.boolean() }) },
  },
  async (c) => {
    const { deploy_data } = c.req.valid("json");
    const design = designOf(c);
    const { access, workspace } = c.var;
    const marked = await design.listReferenceTables(access.projectId, workspace.id);
    const table = await design.setReferenceTable(access.projectId, workspace.id, c.req.valid("param").name, deploy_data);
    c.set("before", { deploy_data: marked.some(({ schema, name }) => schema === table.schema && name === table.name) });
    return ok(c, { schema: table.schema, name: table.name, deploy_data });
  },
);

export const schemaEndpoints = [diff, skip, revert, show, load, mark] as const;
