/** A PostgresAdmin on the file's own server, with shorthands for databases of each kind and for sessions as their roles. */
import { systemClock } from "../../../../core/clock.ts";
import type { CapturedDdl } from "../../../../core/cluster-admin.ts";
import { silentLog } from "../../../../core/log.ts";
import type { BlueprintVersion, NativeRole, PhysicalDatabase } from "../../../../core/model.ts";
import type { SqlConnection, SqlDialer } from "../../../../core/sql.ts";
import { createPostgresAdmin, type PostgresAdmin } from "../../../../engines/postgres/admin/admin.ts";
import { type TestPostgresOptions, useTestPostgres } from "../../../support/postgres.ts";

export const applyOptions = { lockTimeoutMs: 2000, attempts: 3 };

export function useAdmin(options: TestPostgresOptions = {}) {
  const postgres = useTestPostgres(options);
  let made: PostgresAdmin | undefined;
  const admin = () => {
    made ??= createPostgresAdmin({ dialer: postgres().dialer, secrets: postgres().secrets, log: silentLog, clock: systemClock });
    return made;
  };
  return {
    postgres,
    admin,
    /** An admin whose connections pass through `dialer`. */
    adminOver: (dialer: SqlDialer) => createPostgresAdmin({ dialer, secrets: postgres().secrets, log: silentLog, clock: systemClock }),
    async workspace(): Promise<PhysicalDatabase> {
      const database = postgres().freshDatabase();
      await admin().createWorkspaceDatabase(database, "tenant");
      return database;
    },
    /** A template brought to `ddl`, and one tenant copied from it. */
    async tenantOf(...ddl: string[]): Promise<{ template: PhysicalDatabase; tenant: PhysicalDatabase }> {
      const template = postgres().freshDatabase();
      await admin().createTemplateDatabase(template);
      await admin().applyVersions(template, versionsOf(ddl), applyOptions);
      const tenant = postgres().freshDatabase();
      await admin().createTenantDatabase(tenant, template);
      return { template, tenant };
    },
    async as<T>(database: PhysicalDatabase, role: NativeRole, work: (session: SqlConnection) => Promise<T>): Promise<T> {
      const session = await postgres().dialer.asRole(database, role);
      try {
        return await work(session);
      } finally {
        await session.close();
      }
    },
    async asSuperuser<T>(database: PhysicalDatabase | undefined, work: (session: SqlConnection) => Promise<T>): Promise<T> {
      const session = await postgres().dialer.asAdmin(postgres().clusterId, database?.name);
      try {
        return await work(session);
      } finally {
        await session.close();
      }
    },
  };
}

/** SQLSTATE a statement fails with, `ok` when it succeeds. In a transaction that is rolled back, unless it brings its own. */
export async function outcome(session: SqlConnection, sql: string, setUp = ""): Promise<string> {
  await session.query("BEGIN");
  try {
    if (setUp !== "") await session.query(setUp);
    await session.query(sql);
    return "ok";
  } catch (error) {
    return (error as { code?: string }).code ?? String(error);
  } finally {
    await session.query("ROLLBACK");
  }
}

export function versionsOf(ddl: readonly string[], tags: Record<number, Partial<BlueprintVersion>> = {}): BlueprintVersion[] {
  return ddl.map((sql, index) => ({
    workspaceId: "ws_test",
    version: index + 1,
    ddlId: index + 1,
    sql,
    commandTag: /^\s*(\w+\s+\w+)/.exec(sql)?.[1]?.toUpperCase() ?? "",
    searchPath: '"$user", public',
    transactional: true,
    capturedAt: 0,
    ...tags[index],
  }));
}

export function versionsFrom(captured: readonly CapturedDdl[]): BlueprintVersion[] {
  return captured.map((ddl, index) => ({ ...ddl, workspaceId: "ws_test", version: index + 1 }));
}
