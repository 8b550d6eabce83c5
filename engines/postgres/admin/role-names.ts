/** Native roles, and their names inside captured statements: each database has its own, so a workspace's become the tenant's. */
import { type NativeRole, nativeRoleName } from "../../../core/model.ts";

export const nativeRoles = ["owner", "admin", "write", "read"] as const satisfies readonly NativeRole[];

const anyRole = /\btdb_[0-9a-f]{16}_(owner|admin|write|read)\b/g;
/** Where a role is named as an owner to be: in a workspace that is admin, in a tenant database owner. */
const ownerPlace = /\b(owner\s+to|authorization|for\s+(?:role|user))(\s+"?)tdb_[0-9a-f]{16}_admin\b/gi;

/** The statement as it is to be run in `databaseName`. Physical names are random, so they mean the role wherever they stand. */
export function translateRoleNames(sql: string, databaseName: string): string {
  if (!sql.includes("tdb_")) return sql;
  return sql
    .replace(ownerPlace, (_, place: string, space: string) => `${place}${space}${nativeRoleName(databaseName, "owner")}`)
    .replace(anyRole, (_, role: "owner" | "admin" | "write" | "read") => nativeRoleName(databaseName, role));
}
