/** The shapes at the edge: what may come in (strictly) and what goes out. The OpenAPI document is made of these. */
import { z } from "@hono/zod-openapi";
import { engineNames } from "../core/model.ts";
import { roles } from "../core/role.ts";
import { isTenantId, isWorkspaceName } from "../core/scope.ts";

// PostgreSQL's text type has no NUL, and other control characters in a name only ever hurt the reader.
const printable = /^[^\p{Cc}\p{Cs}]*$/u;
const withoutNul = /^[^\0]*$/;
/** Text that rows are compared with. */
export const filterText = (max: number) => z.string().max(max).regex(withoutNul, "must not contain NUL");

export const Name = z
  .string()
  .trim()
  .min(1, "must not be empty")
  .max(100, "must have at most 100 characters")
  .regex(printable, "must not contain control characters")
  .openapi({ pattern: printable.source }); // without the flag, which JSON Schema's patterns have anyway
export const Email = z.email("must be an e-mail address").max(254, "must have at most 254 characters").openapi({ example: "ada@example.com" });
export const Password = z
  .string()
  .min(8, "must have at least 8 characters")
  .max(1024, "must have at most 1024 characters")
  .regex(withoutNul, "must not contain NUL")
  .openapi({ example: "correct horse battery", format: "password" });

export const WorkspaceName = z
  .string()
  .refine(isWorkspaceName, "must be 1-40 characters of a-z, 0-9, _ and -, start with a letter, not contain __ and not end in _ or _workspace")
  .openapi({ example: "myapp", description: "1-40 of `[a-z0-9_-]`, a letter first, no `__`, not ending in `_` or `_workspace`." });
export const TenantId = z
  .string()
  .refine(isTenantId, "must be 1-40 characters of a-z, 0-9 and _, without __")
  .openapi({ example: "wayne", description: "1-40 of `[a-z0-9_]`, no `__`." });

export const EngineField = z.enum(engineNames, `must be one of ${engineNames.join(", ")}`).openapi({ example: "PostgreSQL" });
export const RoleField = z.enum(roles, `must be one of ${roles.join(", ")}`).openapi({ example: "read" });
export const ModeField = z.enum(["tenant", "control"], "must be tenant or control").openapi({
  description: "`tenant`: DDL is captured as blueprint versions. `control`: a plain database for the application's own tables.",
  example: "tenant",
});
export const IsolationLevel = z
  .union([z.literal(1), z.literal(2)], "must be 1 (shared cluster) or 2 (dedicated cluster)")
  .openapi({ type: "integer", enum: [1, 2], example: 1 });

/** ISO 8601, UTC. */
export const Time = z.string().openapi({ format: "date-time", example: "2026-01-15T09:30:00.000Z" });
export const MaybeTime = Time.nullable();

export const integer = (min: number, max: number) =>
  z
    .number(`must be an integer from ${min} to ${max}`)
    .int("must be an integer")
    .min(min, `must be at least ${min}`)
    .max(max, `must be at most ${max}`);

/** `?limit=100&cursor=…` of every list. */
export const PageQuery = z.strictObject({
  limit: z
    .string()
    .regex(/^(?:[1-9]\d{0,2}|1000)$/, "must be an integer from 1 to 1000")
    .optional()
    .openapi({ type: "integer", minimum: 1, maximum: 1000, description: "100 unless told.", example: "100" }),
  cursor: z
    .string()
    .min(1)
    .max(1024)
    .regex(printable, "must be a next_cursor of an earlier answer")
    .optional()
    .openapi({ description: "`next_cursor` of the answer before.", pattern: printable.source }),
});

export const WorkspaceParams = z.object({ id: z.string().openapi({ description: "Name or `ws_` id.", example: "myapp" }) });
export const BlueprintParams = z.object({ name: z.string().openapi({ example: "myapp" }) });
export const TenantParams = z.object({ id: z.string().openapi({ description: "The tenant_id.", example: "wayne" }) });

export const Connection = z
  .object({ host: z.string(), port: z.number().int(), database: z.string(), user: z.string() })
  .openapi("Connection", { example: { host: "localhost", port: 5432, database: "myapp__wayne", user: "tdb_2abf90d3" } });
export const connectionFields = {
  connection: Connection.nullable().openapi({ description: "Null when the gateway has no listener for the engine." }),
  connection_string: z.string().nullable().openapi({
    description: "Put the credential's password where it says `<proxy_password>`.",
    example: "postgresql://tdb_2abf90d3:<proxy_password>@localhost:5432/myapp_workspace?sslmode=require",
  }),
};

export const Project = z
  .object({ project_id: z.string().openapi({ example: "tdb_2abf90d3" }), name: z.string().openapi({ example: "My Project" }), created_at: Time })
  .openapi("Project");

const shownOnce = "Shown once.";
export const apiKeyField = z.string().openapi({ description: shownOnce, example: `tenantsdb_sk_${"3cc0".repeat(16)}` });
export const proxyPasswordField = z.string().openapi({ description: `${shownOnce} Opens the wire proxy only.`, example: "tdb_d2bf66ed7898c448" });
export const newProjectFields = { ...Project.shape, api_key: apiKeyField, proxy_password: proxyPasswordField };

export const apiKeyFields = {
  id: z.string().openapi({ example: "key_5f0c2a" }),
  name: z.string().openapi({ example: "nightly report" }),
  project_id: z.string().openapi({ example: "tdb_2abf90d3" }),
  role: RoleField,
  scope_type: z.enum(["project", "workspace", "tenant"]),
  scope_values: z.array(z.string()).openapi({ example: ["wayne"] }),
  created_at: Time,
  expires_at: MaybeTime,
  last_used_at: MaybeTime,
};
export const ApiKey = z
  .object({
    ...apiKeyFields,
    key: z.string().openapi({ description: "Its first characters.", example: "tenantsdb_sk_3cc0…" }),
    is_active: z.boolean(),
  })
  .openapi("ApiKey");

export const workspaceFields = {
  id: z.string().openapi({ example: "ws_8d1c" }),
  name: z.string().openapi({ example: "myapp" }),
  database: EngineField,
  mode: ModeField,
  status: z.enum(["creating", "ready", "deleting"]).openapi({ example: "ready" }),
  redirect_to: z.string().nullable().openapi({ example: null }),
  created_at: Time,
  ...connectionFields,
};
export const Workspace = z.object(workspaceFields).openapi("Workspace");

export const Table = z
  .object({
    schema: z.string(),
    name: z.string(),
    kind: z.string(),
    deploy_data: z.boolean().openapi({ description: "Whether its rows travel to tenants." }),
    columns: z.array(
      z.object({ name: z.string(), type: z.string(), nullable: z.boolean(), default: z.string().nullable(), primary_key: z.boolean() }),
    ),
  })
  .openapi("Table", {
    example: {
      schema: "public",
      name: "accounts",
      kind: "table",
      deploy_data: false,
      columns: [{ name: "id", type: "integer", nullable: false, default: null, primary_key: true }],
    },
  });

export const BlueprintVersion = z
  .object({
    version: z.number().int(),
    ddl_id: z.number().int(),
    sql: z.string(),
    command_tag: z.string(),
    search_path: z.string(),
    transactional: z.boolean(),
    skipped: z.boolean().openapi({ description: "Passed over by deployments and new tenants." }),
    captured_at: Time,
  })
  .openapi("BlueprintVersion", {
    example: {
      version: 1,
      ddl_id: 1,
      sql: "CREATE TABLE accounts (id serial PRIMARY KEY)",
      command_tag: "CREATE TABLE",
      search_path: '"$user", public',
      transactional: true,
      skipped: false,
      captured_at: "2026-01-15T09:30:00.000Z",
    },
  });

export const blueprintFields = {
  name: z.string().openapi({ example: "myapp" }),
  workspace_id: z.string().openapi({ example: "ws_8d1c" }),
  database: EngineField,
  version: z.number().int().openapi({ description: "The newest version.", example: 3 }),
  tenant_count: z.number().int().openapi({ example: 2 }),
  tenants_per_version: z.array(z.object({ version: z.number().int(), tenants: z.number().int() })).openapi({ example: [{ version: 3, tenants: 2 }] }),
  tenants_behind: z.number().int().openapi({ description: "Tenants not at the newest version.", example: 0 }),
  created_at: Time,
};
export const Blueprint = z.object(blueprintFields).openapi("Blueprint");

/** As the configuration or POST /clusters names it. */
export const ClusterName = z
  .string()
  .min(1, "must not be empty")
  .max(80, "must be at most 80 characters")
  .openapi({ description: "A name of GET /clusters; `main` is the first.", example: "dedicated" });

export const TenantStatus = z.enum(["creating", "ready", "suspended", "trash", "deleting"]).openapi({ example: "ready" });
export const TenantDatabase = z
  .object({
    blueprint: z.string(),
    database_type: EngineField,
    isolation_level: z.number().int(),
    version: z.number().int(),
    ...connectionFields,
  })
  .openapi("TenantDatabase");
export const tenantFields = {
  tenant_id: z.string().openapi({ example: "wayne" }),
  status: TenantStatus,
  databases: z.array(TenantDatabase),
  created_at: Time,
  trashed_at: MaybeTime.openapi({ description: "Kept 7 days from then; null unless in trash.", example: null }),
};
export const Tenant = z.object(tenantFields).openapi("Tenant");
/** Of a tenant just made; its secrets are shown once. */
export const newTenantFields = {
  tenant_id: z.string().openapi({ example: "wayne" }),
  status: TenantStatus,
  created_at: Time,
  databases: z.array(TenantDatabase),
  proxy_password: proxyPasswordField.nullable(),
  api_key: apiKeyField.nullable().openapi({ description: "Shown once; null when databases were added to a tenant that exists." }),
};

// One parameter of a statement; objects and arrays are sent as JSON or as PostgreSQL arrays by the database driver.
const Parameter = z
  .unknown()
  .refine((value) => typeof value !== "string" || withoutNul.test(value), "must not contain NUL")
  .openapi({ type: ["string", "number", "boolean", "object", "array", "null"], example: 1 });
export const queryFields = {
  query: z
    .string()
    .min(1, "must not be empty")
    .regex(withoutNul, "must not contain NUL")
    .openapi({ example: "SELECT id, name FROM accounts WHERE id = $1" }),
  params: z
    .array(Parameter)
    .max(65_535, "must have at most 65535 values")
    .default([])
    .openapi({ example: [1] }),
};
export const QueryBody = z.strictObject(queryFields).openapi("Query");
export const queryAnswerFields = {
  columns: z.array(z.object({ name: z.string(), type: z.string() })).openapi({ example: [{ name: "id", type: "int4" }] }),
  rows: z.array(z.array(z.unknown())).openapi({ example: [[1]] }),
  row_count: z.number().int().openapi({ example: 1 }),
  execution_time_ms: z.number().openapi({ example: 2 }),
  truncated: z.boolean().openapi({
    description: "True when there were more rows than an answer holds (10000). More than max_rows_per_query are an error, as on the wire.",
    example: false,
  }),
  command: z.string().openapi({ example: "SELECT" }),
};

const settingShapes = {
  max_rows_per_query: integer(0, 1_000_000_000).openapi({ description: "0 = no limit.", example: 1000 }),
  query_timeout_ms: integer(0, 86_400_000).openapi({ description: "0 = no limit.", example: 5000 }),
  max_connections: integer(1, 10_000).openapi({ example: 20 }),
  allow_copy: z.boolean("must be true or false").openapi({ example: false }),
  pool_mode: z
    .enum(["session", "transaction"], "must be session or transaction")
    .openapi({ description: "What a client has a backend for. In force for new connections; `session` for open ones too." }),
  slow_query_ms: integer(0, 86_400_000).openapi({ example: 1000 }),
};
export const settingFields = settingShapes;
export const SettingsPatch = z.strictObject(settingShapes).partial().refine(isNotEmpty, "name at least one setting").openapi("SettingsPatch");
export const TenantSettingsPatch = z
  .strictObject({
    max_rows_per_query: settingShapes.max_rows_per_query.nullable(),
    query_timeout_ms: settingShapes.query_timeout_ms.nullable(),
    max_connections: settingShapes.max_connections.nullable(),
    allow_copy: settingShapes.allow_copy.nullable(),
    pool_mode: settingShapes.pool_mode.nullable(),
    slow_query_ms: settingShapes.slow_query_ms.nullable(),
  })
  .partial()
  .refine(isNotEmpty, "name at least one setting")
  .openapi("TenantSettingsPatch", { description: "null removes the tenant's own value; the workspace's applies again." });

function isNotEmpty(patch: object): boolean {
  return Object.keys(patch).length > 0;
}

const DryRunStatement = z
  .object({
    version: z.number().int(),
    command: z.string(),
    duration_ms: z.number(),
    locks: z.array(z.string()).openapi({ description: "Relations that were there before, and the strongest lock taken on each." }),
    rewrites: z.array(z.string()).openapi({ description: "Tables written anew, which takes as long as they are large." }),
  })
  .openapi("DryRunStatement", {
    example: { version: 3, command: "ALTER TABLE", duration_ms: 12.4, locks: ["public.accounts AccessExclusiveLock"], rewrites: [] },
  });
export const DeploymentResult = z
  .object({
    tenant_id: z.string(),
    status: z.enum(["pending", "running", "done", "failed", "skipped", "cancelled"]),
    from_version: z.number().int().nullable(),
    to_version: z.number().int().nullable(),
    duration_ms: z.number().nullable(),
    error: z.string().nullable(),
    sqlstate: z.string().nullable(),
    attempts: z.number().int(),
    canary: z.boolean(),
    started_at: MaybeTime,
    finished_at: MaybeTime,
    statements: z.array(DryRunStatement).nullable().openapi({ description: "Of a dry run: what each statement took." }),
  })
  .openapi("DeploymentResult", {
    example: {
      tenant_id: "wayne",
      status: "done",
      from_version: 2,
      to_version: 3,
      duration_ms: 41,
      error: null,
      sqlstate: null,
      attempts: 1,
      canary: false,
      started_at: "2026-01-15T09:30:00.000Z",
      finished_at: "2026-01-15T09:30:00.041Z",
      statements: null,
    },
  });
export const deploymentFields = {
  id: z.string().openapi({ example: "dep_41c09e" }),
  blueprint_name: z.string().openapi({ example: "myapp" }),
  version: z.number().int().openapi({ example: 3 }),
  status: z.enum(["queued", "running", "done", "failed", "cancelled"]).openapi({ example: "done" }),
  tenants_total: z.number().int().openapi({ example: 2 }),
  tenants_completed: z.number().int().openapi({ example: 2 }),
  tenants_failed: z.number().int().openapi({ example: 0 }),
  concurrency: z.number().int(),
  lock_timeout_ms: z.number().int(),
  canary: z.number().int().openapi({ description: "Tenants that go first.", example: 0 }),
  canary_watch_s: z.number().int(),
  on_failure: z.enum(["continue", "hold"]),
  dry_run: z.boolean(),
  held_because: z.string().nullable().openapi({ description: "Why it stopped by itself before its last tenant; `retry` goes on.", example: null }),
  created_at: Time,
  started_at: MaybeTime,
  finished_at: MaybeTime,
};
export const Deployment = z.object(deploymentFields).openapi("Deployment");
/** Whose results come with a job; `what` it is. */
export const shownField = (what: string) =>
  z
    .enum(["all", "failed", "none"], "must be all, failed or none")
    .optional()
    .openapi({
      description: `Whose results come with it; all unless told. \`none\` is for asking again and again how far ${what} with thousands of tenants is: the counts are always there.`,
      example: "failed",
    });

/** A page of a deployment's results: more of them at a time than of other lists, as few deployments have so many. */
export const ResultsQuery = z.strictObject({
  results: shownField("a deployment"),
  limit: PageQuery.shape.limit.openapi({ description: "So many results at most; 1000 unless told.", example: "1000" }),
});
export const deploymentDetailFields = {
  ...deploymentFields,
  results: z.array(DeploymentResult).openapi({ description: "In order of tenant_id." }),
  next_cursor: z.string().nullable().openapi({ description: "`cursor` of `GET /deployments/{id}` for the results that follow; null when none do." }),
};
