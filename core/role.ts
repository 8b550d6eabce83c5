/** The three roles as one table: what a credential may do once connected. */

export const roles = ["read", "write", "admin"] as const;
export type Role = (typeof roles)[number];

const rank: Record<Role, number> = { read: 0, write: 1, admin: 2 };

/** True when `held` may do what needs `needed`. */
export function roleCovers(held: Role, needed: Role): boolean {
  return rank[held] >= rank[needed];
}

/** Privileges on tables of a tenant database, as GRANT spells them. In a workspace admin owns the schema instead. */
export const tenantTablePrivileges: Record<Role, readonly string[]> = {
  read: ["SELECT"],
  write: ["SELECT", "INSERT", "UPDATE", "DELETE"],
  admin: ["SELECT", "INSERT", "UPDATE", "DELETE", "TRUNCATE"],
};

/** Privileges on sequences of a tenant database. `UPDATE` is what allows setval. */
export const tenantSequencePrivileges: Record<Role, readonly string[]> = {
  read: ["SELECT"],
  write: ["USAGE", "SELECT"],
  admin: ["USAGE", "SELECT", "UPDATE"],
};
