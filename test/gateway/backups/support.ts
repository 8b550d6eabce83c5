/** Backups under test: a real cluster, a control plane on it, files in a directory of the test's own. */
import { createHash } from "node:crypto";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach } from "vitest";
import { type Clock, systemClock } from "../../../core/clock.ts";
import type { ClusterAdmin } from "../../../core/cluster-admin.ts";
import type { Dumper } from "../../../core/dumper.ts";
import { type Log, silentLog } from "../../../core/log.ts";
import type { PhysicalDatabase } from "../../../core/model.ts";
import type { SqlDialer } from "../../../core/sql.ts";
import { createPostgresAdmin } from "../../../engines/postgres/admin/admin.ts";
import { createPostgresDumper } from "../../../engines/postgres/admin/dumper.ts";
import { createBackups, createStorages, type RunningBackups } from "../../../gateway/backups/backups.ts";
import type { ClientTools } from "../../../gateway/backups/client-tools.ts";
import type { BackupConfig } from "../../../gateway/backups/deps.ts";
import type { Storages } from "../../../gateway/backups/storage.ts";
import type { TestPostgresOptions } from "../../support/postgres.ts";
import { type Instance, makeProject, makeTenant, useWorld } from "../control/world.ts";

export const none = new AbortController().signal;

export function makeHash() {
  const hash = createHash("sha256");
  return { update: (bytes: Uint8Array) => void hash.update(bytes), digest: () => hash.digest("hex") };
}

const noTools: ClientTools = {
  versions: async () => [],
  forServer: async () => undefined,
  decode: () => {
    throw new Error("there are no client programs");
  },
};

export interface StartOptions {
  readonly clock?: Clock;
  readonly config?: Partial<BackupConfig>;
  readonly storages?: Storages;
  /** Default: none are installed. */
  readonly tools?: ClientTools;
  readonly dialer?: SqlDialer;
  readonly log?: Log;
  readonly wrapAdmin?: (admin: ClusterAdmin) => ClusterAdmin;
  readonly wrapDumper?: (dumper: Dumper) => Dumper;
}

export interface BackupInstance {
  readonly plane: Instance;
  readonly backups: RunningBackups;
  /** As kill -9 would. */
  kill(): Promise<void>;
}

export function useBackupWorld(server: TestPostgresOptions = {}) {
  const world = useWorld(server);
  let directory = "";
  let running: RunningBackups[] = [];
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "tdb-backups-"));
  });
  afterEach(async () => {
    for (const backups of running) backups.stop();
    running = [];
    await rm(directory, { recursive: true, force: true });
  });
  const asSuperuser = async (database: PhysicalDatabase | undefined, statement: string) => {
    const connection = await world().server.dialer.asAdmin("cluster_test", database?.name);
    try {
      return (await connection.query(statement)).rows;
    } finally {
      await connection.close();
    }
  };
  return {
    world,
    directory: () => directory,
    files: () => readdir(directory, { recursive: true }).then((names) => names.filter((name) => name.includes(".")).sort()),
    asSuperuser,
    async start(options: StartOptions = {}): Promise<BackupInstance> {
      const { server } = world();
      const clock = options.clock ?? systemClock;
      const log = options.log ?? silentLog;
      const shared = { dialer: options.dialer ?? server.dialer, secrets: server.secrets, log, clock: systemClock };
      const admin = createPostgresAdmin(shared);
      const dumper = createPostgresDumper({ ...shared, makeHash });
      const plane = await world().start({ clock, admin: options.wrapAdmin?.(admin) ?? admin });
      const backups = createBackups({
        context: plane.context,
        dumper: options.wrapDumper?.(dumper) ?? dumper,
        storages: options.storages ?? createStorages({ directory, s3: undefined }, log),
        tools: options.tools ?? noTools,
        config: () => ({ format: "auto", concurrency: 2, keepReplacedMs: 3_600_000, connectWaitMs: 2_000, ...options.config }),
        makeHash,
      });
      running.push(backups);
      backups.start();
      return {
        plane,
        backups,
        async kill() {
          running = running.filter((each) => each !== backups);
          await world().kill(plane);
          backups.stop();
        },
      };
    },
    /** Blueprint `myapp` with table accounts, and one tenant with three rows. */
    async makeShop({ plane }: BackupInstance, tenantId = "wayne") {
      const { project } = await makeProject(plane);
      const workspace = await plane.createWorkspace(project.id, { name: "myapp", engine: "PostgreSQL", mode: "tenant", redirectTo: undefined });
      const ddl = async (...statements: string[]) => {
        const connection = await world().server.dialer.asRole(workspace.database!, "admin");
        for (const statement of statements) await connection.query(statement);
        await connection.close();
      };
      await ddl("create table accounts (id serial primary key, name text not null)");
      await makeTenant(plane, project.id, tenantId, "myapp");
      const query = (sql: string, id = tenantId) =>
        plane.queryTenant(project.id, id, "write", { query: sql, params: [] }).then((answer) => answer.rows.map((row) => row[0]));
      await query("insert into accounts (name) values ('a'), ('b'), ('c')");
      const names = (id = tenantId) => query("select name from accounts order by id", id);
      const physical = async (id = tenantId) => (await plane.getTenant(project.id, id)).databases[0]!.database!;
      return { projectId: project.id, workspace, ddl, query, names, physical };
    },
  };
}
