/** Control planes with imports on a real cluster, and a workspace to import into. */
import { afterEach, beforeEach } from "vitest";
import { systemClock } from "../../../core/clock.ts";
import type { ImportOptions, ImportStatus } from "../../../core/imports.ts";
import { silentLog } from "../../../core/log.ts";
import type { PhysicalDatabase } from "../../../core/model.ts";
import type { SourceConnection } from "../../../core/schema-design.ts";
import { createPostgresAdmin } from "../../../engines/postgres/admin/admin.ts";
import { createPostgresDesign } from "../../../engines/postgres/admin/design.ts";
import { createControlPlane, type RunningControlPlane } from "../../../gateway/control/control-plane.ts";
import type { ImportsConfig } from "../../../gateway/imports/context.ts";
import { createImports, type RunningImports } from "../../../gateway/imports/imports.ts";
import type { SourceLimits } from "../../../gateway/outbound/source-guard.ts";
import { readForeignSchema } from "../../../gateway/schemas/read-foreign.ts";
import type { Store } from "../../../gateway/store/store.ts";
import { type TestPostgres, useTestPostgres } from "../../support/postgres.ts";
import { type ControlDatabase, makeControlDatabase } from "../store/control-database.ts";

/** What the API fills in. */
export const defaults: ImportOptions = {
  routingField: "tenant_id",
  createTenants: true,
  dropRoutingColumn: true,
  sharedTables: undefined,
  tables: {},
  follow: {},
  tenantIds: {},
  skipColumns: [],
  verify: "checksum",
  concurrency: 2,
};

export interface Instance {
  readonly plane: RunningControlPlane;
  readonly imports: RunningImports;
  readonly store: Store;
  readonly applicationName: string;
}

export interface World {
  readonly server: TestPostgres;
  readonly control: ControlDatabase;
  start(config?: Partial<ImportsConfig>, limits?: Partial<SourceLimits>): Promise<Instance>;
  stop(instance: Instance): Promise<void>;
  /** Rows of a statement in a database, as superuser. */
  inside(database: PhysicalDatabase, text: string): Promise<Record<string, unknown>[]>;
}

const quick: Partial<ImportsConfig> = { firstWaitMs: 20, progressMs: 20, sweepMs: 200 };

export function useWorld(): () => World {
  const server = useTestPostgres();
  let world: World | undefined;
  let instances: Instance[] = [];
  beforeEach(async () => {
    const control = await makeControlDatabase(server());
    const { dialer, secrets, clusterId } = server();
    instances = [];
    world = {
      server: server(),
      control,
      async start(config = {}, limits = {}) {
        const applicationName = `instance ${secrets.randomHex(4)}`;
        const store = await control.open({ clock: systemClock, applicationName });
        const common = { store, secrets, clock: systemClock, log: silentLog };
        const admin = createPostgresAdmin({ dialer, secrets, log: silentLog, clock: systemClock });
        const clusters = [{ id: clusterId, name: "test" }];
        const plane = createControlPlane({
          ...{ ...common, admin },
          design: createPostgresDesign({ ...common, dialer }),
          readForeignSchema: () => Promise.reject(new Error("not in this test")),
          config: { clusters, passwordIterations: 1_000, spareDatabases: 0, sweepMs: 1_000 },
        });
        await plane.start();
        const outbound = () => ({ allowPrivate: false, allow: ["127.0.0.1"] });
        const readSchema = (connection: SourceConnection) => readForeignSchema(connection, outbound());
        const runScript = (database: PhysicalDatabase, sql: string) => admin.runScript(database, sql);
        const imports = createImports({
          ...{ ...common, control: plane, dialer, outbound, readSchema, runScript },
          limits: () => ({ stallMs: 60_000, maxRowBytes: 128 * 1024 * 1024, ...limits }),
          config: { ...quick, ...config },
        });
        await imports.start();
        const instance = { plane, imports, store, applicationName };
        instances.push(instance);
        return instance;
      },
      async stop(instance) {
        instances = instances.filter((one) => one !== instance);
        await instance.imports.stop();
        await instance.plane.stop();
      },
      async inside(database, text) {
        const connection = await dialer.asAdmin(database.clusterId, database.name);
        try {
          return [...(await connection.query(text)).rows];
        } finally {
          await connection.close();
        }
      },
    };
  });
  afterEach(async () => {
    for (const instance of [...instances]) await world?.stop(instance);
    await world?.control.close();
  });
  return () => world!;
}

export interface Target {
  readonly projectId: string;
  readonly workspace: PhysicalDatabase;
  /** Of a tenant, once it is there. */
  database(tenantId: string): Promise<PhysicalDatabase>;
}

/** A workspace `shop` with this schema. */
export async function makeTarget(world: World, { plane }: Instance, schema: string): Promise<Target> {
  const { project } = await plane.createProject(undefined, "shop");
  const made = await plane.createWorkspace(project.id, { name: "shop", engine: "PostgreSQL", mode: "tenant", redirectTo: undefined });
  const workspace = made.database!;
  if (schema !== "") await asDesigner(world, workspace, schema);
  const database = async (tenantId: string) => (await plane.getTenant(project.id, tenantId)).databases[0]!.database!;
  return { projectId: project.id, workspace, database };
}

/** DDL in a workspace as its user runs it. */
export async function asDesigner(world: World, workspace: PhysicalDatabase, script: string): Promise<void> {
  const connection = await world.server.dialer.asRole(workspace, "admin");
  await connection.query(script);
  await connection.close();
}

/** Asks until the import has ended. */
export async function untilEnded({ imports }: Instance, projectId: string, importId?: string): Promise<ImportStatus> {
  return await untilStatus({ imports }, projectId, importId, ({ state }) => state !== "queued" && state !== "running");
}

export async function untilStatus(
  { imports }: Pick<Instance, "imports">,
  projectId: string,
  importId: string | undefined,
  isIt: (status: ImportStatus) => boolean,
): Promise<ImportStatus> {
  for (;;) {
    const status = await imports.getImport(projectId, "shop", importId);
    if (isIt(status)) return status;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
