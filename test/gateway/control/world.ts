/** A control plane under test: a fresh control database, a cluster in memory or a real one, and as many instances as the test wants. */
import { afterEach, beforeEach } from "vitest";
import { type Clock, systemClock } from "../../../core/clock.ts";
import type { ClusterAdmin } from "../../../core/cluster-admin.ts";
import type { NewTenant } from "../../../core/control-plane.ts";
import { GatewayError, type RefusalKind } from "../../../core/errors.ts";
import { silentLog } from "../../../core/log.ts";
import type { PhysicalDatabase } from "../../../core/model.ts";
import { createPostgresDesign } from "../../../engines/postgres/admin/design.ts";
import type { ControlConfig, ReadForeignSchema } from "../../../gateway/control/context.ts";
import { createControlPlane, type RunningControlPlane } from "../../../gateway/control/control-plane.ts";
import type { Store } from "../../../gateway/store/store.ts";
import { type TestPostgres, type TestPostgresOptions, useTestPostgres } from "../../support/postgres.ts";
import { type ControlDatabase, makeControlDatabase } from "../store/control-database.ts";
import { FakeAdmin } from "./fake-admin.ts";

export interface Instance extends RunningControlPlane {
  readonly applicationName: string;
  readonly store: Store;
}

export interface World {
  readonly server: TestPostgres;
  readonly control: ControlDatabase;
  readonly admin: FakeAdmin;
  /** Another instance on the same store and cluster, started. */
  start(options?: { config?: Partial<ControlConfig>; clock?: Clock; admin?: ClusterAdmin; readForeignSchema?: ReadForeignSchema }): Promise<Instance>;
  /** As kill -9 would: its connections are gone, nothing was tidied up. */
  kill(instance: Instance): Promise<void>;
}

/** Few password iterations, because tests are not attacked; no spares unless asked for; sweeps by hand. */
const testConfig: Partial<ControlConfig> = {
  clusters: [{ id: "cluster_test", name: "test" }],
  passwordIterations: 1_000,
  spareDatabases: 0,
  sweepMs: 3_600_000,
  driftCheckIntervalS: 0,
};

/** A world per test. Use the returned function inside tests only. */
export function useWorld(options: TestPostgresOptions = {}): () => World {
  const server = useTestPostgres(options);
  let world: World | undefined;
  let instances: Instance[] = [];
  beforeEach(async () => {
    const control = await makeControlDatabase(server());
    const admin = new FakeAdmin();
    instances = [];
    world = {
      server: server(),
      control,
      admin,
      async start(options = {}) {
        const clock = options.clock ?? systemClock;
        const applicationName = `instance ${instances.length} ${server().secrets.randomHex(4)}`;
        const store = await control.open({ clock, applicationName });
        const plane = createControlPlane({
          design: createPostgresDesign({ dialer: server().dialer, secrets: server().secrets, clock, log: silentLog }),
          readForeignSchema: options.readForeignSchema ?? (() => Promise.reject(new GatewayError("forbidden", "no other servers in this test"))),
          store,
          admin: options.admin ?? admin,
          secrets: server().secrets,
          clock,
          log: silentLog,
          config: { ...testConfig, ...options.config },
        });
        await plane.start();
        const instance = { ...plane, store, applicationName };
        instances.push(instance);
        return instance;
      },
      async kill(instance) {
        instances = instances.filter((i) => i !== instance);
        void instance.store.close().catch(() => undefined); // no more reconnecting; it never ends where the test keeps work hanging
        void instance.stop().catch(() => undefined); // no more sweeping; what it still tries fails
        await control.query("select pg_terminate_backend(pid) from pg_stat_activity where application_name like $1 || '%'", [
          instance.applicationName,
        ]);
      },
    };
  });
  afterEach(async () => {
    await Promise.all(instances.map((instance) => instance.stop()));
    await world?.control.close();
  });
  return () => world!;
}

/** What a refusal says, for `toEqual`. */
export async function refusalOf(attempt: Promise<unknown>): Promise<{ kind: RefusalKind; message: string }> {
  try {
    await attempt;
  } catch (error) {
    if (error instanceof GatewayError) return { kind: error.kind, message: error.message };
    throw error;
  }
  throw new Error("it was not refused");
}

/** Of a deployment asked for. */
export const everyResult = { shown: "all", limit: 1000 } as const;

export async function makeProject(plane: RunningControlPlane, name = "shop") {
  return await plane.createProject(undefined, name);
}

/** A PostgreSQL workspace in tenant mode with `tables` versions. */
export async function makeWorkspace(
  world: World,
  plane: RunningControlPlane,
  projectId: string,
  name: string,
  tables: number,
): Promise<PhysicalDatabase> {
  const workspace = await plane.createWorkspace(projectId, { name, engine: "PostgreSQL", mode: "tenant", redirectTo: undefined });
  world.admin.runDdl(workspace.database!, ...Array.from({ length: tables }, (_, i) => `create table t${i + 1} (id int)`));
  return workspace.database!;
}

export async function makeTenant(plane: RunningControlPlane, projectId: string, tenantId: string, ...blueprints: string[]): Promise<NewTenant> {
  return await plane.createTenant(projectId, { tenantId, databases: blueprints.map((blueprint) => ({ blueprint, isolationLevel: 1 as const })) });
}

/** A promise and the function that resolves it. */
export function makeGate(): { readonly opened: Promise<void>; open: () => void } {
  let open: () => void = () => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open };
}
