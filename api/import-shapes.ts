/** Shapes of imports at the edge: what is asked for, and how analyses and progress are shown. */
import { z } from "@hono/zod-openapi";
import type { ImportAnalysis, ImportConnection, ImportOptions, ImportStatus, ImportTable } from "../core/imports.ts";
import { TenantId, Time } from "./schema.ts";

const text = (max: number) =>
  z
    .string()
    .min(1, "must not be empty")
    .max(max, `must have at most ${max} characters`)
    .regex(/^[^\0]*$/, "must not contain NUL");
const names = <V extends z.ZodType>(value: V) => z.record(text(300), value).default({});

const ConnectionFields = z.strictObject({
  engine: z.enum(["PostgreSQL", "MySQL"], "must be PostgreSQL or MySQL").default("PostgreSQL"),
  host: text(255).openapi({ example: "db.example" }),
  port: z.number("must be a port").int("must be a port").min(1, "must be a port").max(65_535, "must be a port").optional(),
  user: text(128).openapi({ example: "reader" }),
  password: z.string().max(1024).default(""),
  database: text(128).openapi({ example: "shared" }),
  sslmode: z.enum(["disable", "require", "verify-full"], "must be disable, require or verify-full").default("require"),
});

const ConnectionUrl = z
  .string()
  .max(4096)
  .transform((url, context): ImportConnection => {
    const found = readConnectionUrl(url);
    if (found) return found;
    context.addIssue({ code: "custom", message: "must be of the form postgresql://user:password@host:5432/database?sslmode=require, or mysql://…" });
    return z.NEVER;
  })
  .openapi({ example: "postgresql://reader:secret@db.example:5432/shared?sslmode=require" });

const Connection = z
  .union([ConnectionUrl, ConnectionFields.transform(({ port, ...rest }): ImportConnection => ({ ...rest, port: port ?? defaultPorts[rest.engine] }))])
  .openapi({ description: "A user that may read is enough; nothing is written there. Kept sealed until the import is done." });

const defaultPorts = { PostgreSQL: 5432, MySQL: 3306 } as const;

/** @returns undefined for anything else. Its text may hold a password: it is never repeated in an error. */
export function readConnectionUrl(text: string): ImportConnection | undefined {
  if (!URL.canParse(text)) return undefined;
  const url = new URL(text);
  const engine = /^postgres(ql)?:$/.test(url.protocol) ? "PostgreSQL" : /^(mysql|mariadb):$/.test(url.protocol) ? "MySQL" : undefined;
  const sslmode = url.searchParams.get("sslmode") ?? "require";
  const parts = [url.username, url.password, url.pathname.slice(1)].map(decode);
  const [user, password, database] = parts;
  if (!engine || !url.hostname || !user || password === undefined || !database) return undefined;
  if (sslmode !== "disable" && sslmode !== "require" && sslmode !== "verify-full") return undefined;
  return { engine, host: url.hostname, port: Number(url.port || defaultPorts[engine]), user, password, database, sslmode };
}

function decode(part: string): string | undefined {
  try {
    return decodeURIComponent(part);
  } catch {
    return undefined;
  }
}

export const ImportBody = z
  .strictObject({
    connection: Connection,
    routing_field: text(63).default("tenant_id").openapi({ description: "The column that says whose a row is.", example: "tenant_id" }),
    create_tenants: z.boolean("must be true or false").default(true).openapi({ description: "Make the tenants that do not exist yet." }),
    drop_routing_column: z.boolean("must be true or false").default(true).openapi({ description: "Leave the routing column behind." }),
    shared_tables: z
      .enum(["copy", "skip"], "must be copy or skip")
      .optional()
      .openapi({ description: "Tables that belong to nobody: a copy for each tenant, or none. Must be said where there are any.", example: "copy" }),
    tables: names(z.enum(["copy", "skip"], "must be copy or skip")).openapi({
      description: "The same, table by table.",
      example: { audit_log: "skip" },
    }),
    follow: names(text(63)).openapi({ description: "Table → foreign key its rows follow, where there are several ways.", example: {} }),
    tenant_ids: names(TenantId).openapi({
      description: "Routing value → tenant id, where the rule gives another.",
      example: { "Wayne Enterprises": "wayne" },
    }),
    skip_columns: z.array(text(300)).max(1000, "must have at most 1000").default([]).openapi({ description: "`table.column` that stays behind." }),
    verify: z.enum(["checksum", "count"], "must be checksum or count").default("checksum"),
    concurrency: z
      .number()
      .int("must be an integer")
      .min(1, "must be at least 1")
      .max(16, "must be at most 16")
      .default(4)
      .openapi({ description: "Tenants at a time." }),
  })
  .openapi("ImportRequest");

export function toRequest(body: z.infer<typeof ImportBody>): { connection: ImportConnection; options: ImportOptions } {
  return {
    connection: body.connection,
    options: {
      routingField: body.routing_field,
      createTenants: body.create_tenants,
      dropRoutingColumn: body.drop_routing_column,
      sharedTables: body.shared_tables,
      tables: body.tables,
      follow: body.follow,
      tenantIds: body.tenant_ids,
      skipColumns: body.skip_columns,
      verify: body.verify,
      concurrency: body.concurrency,
    },
  };
}

const Unowned = z.object({
  reason: z.enum(["null_routing_field", "blank_routing_field", "no_owner"]),
  rows: z.number().int(),
  find: z
    .string()
    .openapi({ description: "Shows these rows in the source.", example: `SELECT * FROM ONLY "public"."orders" t WHERE t."tenant_id" IS NULL` }),
});

const TableShape = z
  .object({
    table: z.string().openapi({ example: "order_items" }),
    route: z.enum(["field", "registry", "foreign_key", "shared", "skipped"]),
    follows: z.array(z.string()).openapi({ example: ["order_items_order_id_fkey → orders"] }),
    ambiguous: z.array(z.string()).openapi({ description: "Foreign keys that lead to a tenant too and are not followed.", example: [] }),
    rows: z.number().int(),
    unowned: z.array(Unowned),
  })
  .openapi("ImportTable");

export const analysisFields = {
  engine: z.enum(["PostgreSQL", "MySQL"]),
  server_version: z.string().openapi({ example: "16.4" }),
  routing_field: z.string().openapi({ example: "tenant_id" }),
  tables: z.array(TableShape),
  tenants: z
    .array(z.object({ value: z.string(), tenant_id: z.string(), rows: z.number().int(), exists: z.boolean() }))
    .openapi({ description: "The first 1000." }),
  tenant_count: z.number().int().openapi({ example: 100 }),
  rows: z.number().int().openapi({ example: 1_000_000 }),
  unowned_rows: z.number().int().openapi({ description: "Rows that belong to no tenant; they stay in the source.", example: 0 }),
  warnings: z.array(z.string()),
  problems: z.array(z.string()).openapi({ description: "What stops an import as asked for, with the way out." }),
};

const TenantShape = z
  .object({
    tenant_id: z.string().openapi({ example: "wayne" }),
    value: z.string().openapi({ description: "As the source has it.", example: "wayne" }),
    status: z.enum(["pending", "running", "done", "failed", "cancelled"]),
    created: z.boolean(),
    credential_id: z.string().nullable().openapi({ description: "Of a tenant made here: rotate it to get its password.", example: "key_5f0c2a" }),
    rows: z.number().int(),
    duration_ms: z.number().int().nullable(),
    error: z.string().nullable(),
    sqlstate: z.string().nullable(),
    snapshot_at: Time.nullable().openapi({ description: "When the rows were what was brought over." }),
    tables: z.array(z.object({ table: z.string(), rows: z.number().int(), checksum: z.string().nullable() })),
  })
  .openapi("ImportTenant");

export const statusFields = {
  import_id: z.string().openapi({ example: "imp_41c09e5b7d20f3a8" }),
  workspace: z.string().openapi({ example: "myapp" }),
  kind: z.enum(["data", "full"]),
  status: z.enum(["queued", "running", "done", "failed", "cancelled"]),
  phase: z.enum(["structure", "data"]),
  source: z.string().openapi({ example: "PostgreSQL db.example:5432/shared" }),
  routing_field: z.string().openapi({ example: "tenant_id" }),
  tenants_total: z.number().int(),
  tenants_done: z.number().int(),
  tenants_failed: z.number().int(),
  rows_total: z.number().int(),
  rows_done: z.number().int(),
  error: z.string().nullable(),
  created_at: Time,
  started_at: Time.nullable(),
  finished_at: Time.nullable(),
  tables: z.array(TableShape),
  warnings: z.array(z.string()),
  tenants: z.array(TenantShape),
};

const presentTable = (table: ImportTable) => ({
  ...table,
  follows: [...table.follows],
  ambiguous: [...table.ambiguous],
  unowned: table.unowned.map((entry) => ({ ...entry })),
});

export function presentAnalysis(analysis: ImportAnalysis) {
  return {
    engine: analysis.engine,
    server_version: analysis.serverVersion,
    routing_field: analysis.routingField,
    tables: analysis.tables.map(presentTable),
    tenants: analysis.tenants.map(({ value, tenantId, rows, exists }) => ({ value, tenant_id: tenantId, rows, exists })),
    tenant_count: analysis.tenantCount,
    rows: analysis.rows,
    unowned_rows: analysis.unownedRows,
    warnings: [...analysis.warnings],
    problems: [...analysis.problems],
  };
}

export function presentImport(status: ImportStatus) {
  return {
    import_id: status.id,
    workspace: status.workspace,
    kind: status.kind,
    status: status.state,
    phase: status.phase,
    source: status.source,
    routing_field: status.routingField,
    tenants_total: status.tenantsTotal,
    tenants_done: status.tenantsDone,
    tenants_failed: status.tenantsFailed,
    rows_total: status.rowsTotal,
    rows_done: status.rowsDone,
    error: status.error ?? null,
    created_at: iso(status.createdAt)!,
    started_at: iso(status.startedAt),
    finished_at: iso(status.finishedAt),
    tables: status.tables.map(presentTable),
    warnings: [...status.warnings],
    tenants: status.tenants.map((tenant) => ({
      tenant_id: tenant.tenantId,
      value: tenant.value,
      status: tenant.state,
      created: tenant.created,
      credential_id: tenant.credentialId ?? null,
      rows: tenant.rows,
      duration_ms: tenant.durationMs ?? null,
      error: tenant.error ?? null,
      sqlstate: tenant.sqlstate ?? null,
      snapshot_at: iso(tenant.snapshotAt),
      tables: tenant.tables.map((table) => ({ ...table })),
    })),
  };
}

function iso(ms: number | undefined): string | null {
  return ms === undefined ? null : new Date(ms).toISOString();
}
