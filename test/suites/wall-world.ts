/** What the suites about the wall share: two projects on one cluster, every role of a tenant and of its workspace, and what may not change. */
import { createHash } from "node:crypto";
import type { PhysicalDatabase } from "../../core/model.ts";
import { type Role, roles } from "../../core/role.ts";
import { makeApi } from "../e2e/support/api.ts";
import { psql, type Target } from "../e2e/support/clients.ts";
import { type Fleet, makeFleet } from "../e2e/support/fleet.ts";
import type { RuntimeUnderTest } from "../e2e/support/gateway.ts";
import { type NativeServer, openNativeServer } from "../e2e/support/native.ts";

/** Names a customer chose, none of which another tenant may ever read. */
export const foreignNames = ["hyperion", "olympus", "zelda", "borealis", "myapp", "wayne", "globex", "acme"] as const;

/** One credential: where it is, and which native role stands behind it. */
export interface Attacker {
  readonly kind: "tenant" | "workspace";
  readonly role: Role;
  readonly target: Target;
  readonly database: PhysicalDatabase;
}

export interface WallWorld {
  readonly fleet: Fleet;
  readonly native: NativeServer;
  readonly attackers: readonly Attacker[];
  /** The attackers' own databases. */
  readonly tenant: PhysicalDatabase;
  readonly workspace: PhysicalDatabase;
  /** Another tenant of the same blueprint, with its admin's credential. */
  readonly neighbour: PhysicalDatabase;
  readonly neighbourTarget: Target;
  /** A tenant of another project. */
  readonly stranger: PhysicalDatabase;
  /** A digest of everything the attackers could have changed. */
  snapshot(): Promise<Record<string, string>>;
  dispose(): Promise<void>;
}

/** In the workspace, by its admin: in tenants these belong to the owner. `run_as_owner` is as careless as a blueprint can be. */
const blueprint = [
  "CREATE TABLE ledger (id int PRIMARY KEY, note text)",
  "INSERT INTO ledger VALUES (1, 'first')",
  "CREATE FUNCTION run_as_owner(q text) RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS 'BEGIN EXECUTE q; END'",
];

export async function makeWallWorld(runtime: RuntimeUnderTest): Promise<WallWorld> {
  const fleet = await makeFleet(runtime);
  const native = openNativeServer(fleet.gateway);
  try {
    return await furnish(fleet, native);
  } catch (error) {
    await native.close();
    await fleet.dispose();
    throw error;
  }
}

async function furnish(fleet: Fleet, native: NativeServer): Promise<WallWorld> {
  await must(fleet.api("POST", "/workspaces", { name: "walled", database: "PostgreSQL" }));
  const made = await psql(fleet.gateway, fleet.project("walled_workspace"), ...blueprint);
  if (made.stderr) throw new Error(made.stderr);
  await fleet.addTenant("ada", "walled");
  const neighbourTarget = await fleet.addTenant("borealis", "walled");
  const stranger = await makeStranger(fleet, native);
  const find = (name: string) => native.find(fleet.gateway.credentials.project_id, name);
  const [tenant, workspace, neighbour] = await Promise.all([find("walled__ada"), find("walled_workspace"), find("walled__borealis")]);
  const attackers: Attacker[] = [];
  for (const role of roles) {
    for (const kind of ["tenant", "workspace"] as const) {
      const { password } = await fleet.makeKey({ role, scope_type: kind, scope_values: [kind === "tenant" ? "ada" : "walled"] });
      const name = kind === "tenant" ? "walled__ada" : "walled_workspace";
      attackers.push({ kind, role, target: { ...fleet.project(name), password }, database: kind === "tenant" ? tenant : workspace });
    }
  }
  return {
    ...{ fleet, native, attackers, tenant, workspace, neighbour, neighbourTarget, stranger },
    snapshot: () => snapshot(native, [tenant.name, workspace.name, neighbour.name]),
    async dispose() {
      await native.close();
      await fleet.dispose();
    },
  };
}

/** Another customer: account, project, workspace and tenant, with names that tell. */
async function makeStranger(fleet: Fleet, native: NativeServer): Promise<PhysicalDatabase> {
  const { api_url } = fleet.gateway.credentials;
  const { body } = await must(
    makeApi(api_url, "")("POST", "/signup", { email: "zelda@hyperion.example", password: "a long password", project_name: "Hyperion Ledger" }),
  );
  const api = makeApi(api_url, body.api_key);
  await must(api("POST", "/workspaces", { name: "hyperion", database: "PostgreSQL" }));
  await must(api("POST", "/tenants", { tenant_id: "olympus", databases: [{ blueprint: "hyperion" }] }));
  return native.find(body.project_id, "hyperion__olympus");
}

/** @throws Error for anything but success. */
export async function must<T extends { status: number; body: unknown }>(answer: Promise<T>): Promise<T> {
  const got = await answer;
  if (got.status >= 300) throw new Error(`${got.status} ${JSON.stringify(got.body)}`);
  return got;
}

const shared = {
  // Roles of databases the control plane keeps in reserve come and go.
  roles:
    "SELECT a::text AS t FROM pg_authid a WHERE rolname !~ '^tdb_' OR left(rolname, 20) IN (SELECT unnest(string_to_array(current_setting('wall.names'), ' ')))",
  members: "SELECT m::text AS t FROM pg_auth_members m",
  roleSettings: "SELECT s::text AS t FROM pg_db_role_setting s",
  comments: "SELECT c::text AS t FROM pg_shdescription c WHERE classoid <> 'pg_database'::regclass OR objoid > 16384",
  tablespaces: "SELECT s::text AS t FROM pg_tablespace s",
  subscriptions: "SELECT s.oid::text AS t FROM pg_subscription s",
  slots: "SELECT s.slot_name::text AS t FROM pg_replication_slots s",
  prepared: "SELECT p.gid AS t FROM pg_prepared_xacts p",
  serverSettings: "SELECT name || '=' || coalesce(setting, '') AS t FROM pg_file_settings",
};

const perDatabase = {
  database: "SELECT (oid, datname, datdba, datacl, datconnlimit, datallowconn)::text AS t FROM pg_database WHERE datname = current_database()",
  relations: `SELECT (c.oid, relname, relnamespace, relowner, relkind, relacl, relrowsecurity, relforcerowsecurity, reloptions)::text AS t FROM pg_class c
               WHERE relpersistence <> 't'`,
  columns:
    "SELECT (attrelid, attname, atttypid, attacl, attisdropped)::text AS t FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid WHERE relpersistence <> 't'",
  routines:
    "SELECT (oid, proname, proowner, prosecdef, proconfig, proacl, prosrc)::text AS t FROM pg_proc WHERE pronamespace::regnamespace::text !~ '^pg_(toast_)?temp'",
  schemas: "SELECT (oid, nspname, nspowner, nspacl)::text AS t FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp'",
  types: "SELECT (oid, typowner, typacl)::text AS t FROM pg_type WHERE typnamespace::regnamespace::text !~ '^pg_(toast_)?temp'",
  defaults: "SELECT d::text AS t FROM pg_default_acl d",
  eventTriggers: "SELECT e::text AS t FROM pg_event_trigger e",
  triggers: "SELECT (oid, tgrelid, tgname, tgenabled)::text AS t FROM pg_trigger",
  extensions: "SELECT e::text AS t FROM pg_extension e",
  languages: "SELECT l::text AS t FROM pg_language l",
  publications: "SELECT p::text AS t FROM pg_publication p",
  foreign: "SELECT f::text AS t FROM pg_foreign_data_wrapper f UNION ALL SELECT s::text FROM pg_foreign_server s",
  largeObjects: "SELECT l::text AS t FROM pg_largeobject_metadata l",
  comments: "SELECT d::text AS t FROM pg_description d WHERE objoid > 16384",
  ledger: "SELECT l::text AS t FROM public.ledger l",
};

/** What the tables of schema tdb hold: the applied version, or what was captured. */
const recordsSql = {
  tenant: "SELECT a::text AS t FROM tdb.applied a",
  workspace: "SELECT l.id::text AS t FROM tdb.ddl_log l WHERE effect = 'permanent'",
};

async function snapshot(native: NativeServer, [tenant = "", workspace = "", neighbour = ""]: readonly string[]): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  const read = async (label: string, database: string | undefined, queries: Readonly<Record<string, string>>) => {
    const parts = Object.entries(queries).map(([what, sql]) => `SELECT '${what}' AS what, t FROM (${sql}) AS q_${what}`);
    const lines = new Map<string, string[]>();
    for (const row of await native.rows(database, parts.join("\nUNION ALL "))) lines.set(row.what, [...(lines.get(row.what) ?? []), row.t]);
    for (const [what, texts] of lines) found[`${label} ${what}`] = createHash("sha256").update(texts.sort().join("\n")).digest("hex").slice(0, 12);
  };
  await native.rows(undefined, "SELECT set_config('wall.names', $1, false)", [[tenant, workspace, neighbour].join(" ")]);
  await read("cluster", undefined, shared);
  await read("tenant", tenant, { ...perDatabase, records: recordsSql.tenant });
  await read("workspace", workspace, { ...perDatabase, records: recordsSql.workspace });
  await read("neighbour", neighbour, { ...perDatabase, records: recordsSql.tenant });
  return found;
}
