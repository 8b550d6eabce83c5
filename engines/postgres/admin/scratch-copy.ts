/** Copies of a tenant's database that only its own owner enters: by the server where nobody is connected, else rebuilt and filled. */
import { type BlueprintVersion, nativeRoleName, type PhysicalDatabase } from "../../../core/model.ts";
import { quoteIdentifier } from "../../../core/sql.ts";
import { applyVersions } from "./apply.ts";
import { type AdminContext, withAdmin } from "./context.ts";
import { copyContents } from "./copy-contents.ts";
import { createDatabaseFrom, createTemplateDatabase } from "./provision.ts";
import { databaseGrantsSql } from "./provision-sql.ts";
import { sqlStateOf } from "./sql-errors.ts";
import { ownerGrantsSql } from "./tenant-sql.ts";

/** How long a lock of the empty copy is waited for: nobody else has one. */
const rebuildOptions = { lockTimeoutMs: 10_000, attempts: 1 };
const objectInUse = "55006";

export async function createScratchCopy(
  context: AdminContext,
  database: PhysicalDatabase,
  source: PhysicalDatabase,
  versions: readonly BlueprintVersion[],
): Promise<void> {
  if (await isUnused(context, source)) {
    try {
      return await createDatabaseFrom(context, database, source.name, scratchSql(database.name, source.name));
    } catch (error) {
      if (sqlStateOf(error) !== objectInUse) throw error;
    }
  }
  await createTemplateDatabase(context, database);
  await applyVersions(context, database, versions, rebuildOptions);
  await copyContents(context, source, database, { verify: false });
}

/** Asked first: CREATE DATABASE waits five seconds for sessions to go before it says that they have not. */
async function isUnused(context: AdminContext, source: PhysicalDatabase): Promise<boolean> {
  const { rows } = await withAdmin(context, source.clusterId, undefined, (connection) =>
    connection.query("SELECT pg_catalog.count(*) AS sessions FROM pg_catalog.pg_stat_activity WHERE datname = $1", [source.name]),
  );
  return Number(rows[0]?.sessions) === 0;
}

/** The source's client roles keep what they were granted on the copy's objects, and cannot connect to it. */
function scratchSql(name: string, source: string): string {
  const [from, to] = [source, name].map((database) => quoteIdentifier(nativeRoleName(database, "owner")));
  return `
REASSIGN OWNED BY ${from} TO ${to};
${ownerGrantsSql(name)}
${databaseGrantsSql(name, { owner: "CONNECT, CREATE, TEMPORARY" })}`;
}
