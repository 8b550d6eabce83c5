/** What one tenant can learn of the others on the same server, and do to them: connect, look, signal, lock, listen. */
import type pg from "pg";
import { describe, expect, it } from "vitest";
import { connect, failure } from "../e2e/support/clients.ts";
import { fieldsOf, Wire } from "../e2e/support/wire.ts";
import { type Attacker, foreignNames, type WallWorld } from "./wall-world.ts";

/** Settings that would make a session somebody else, load code, or switch the guards off. */
const startupTricks: readonly Readonly<Record<string, string>>[] = [
  { role: "postgres" },
  { session_authorization: "postgres" },
  { Role: "postgres" },
  { replication: "database" },
  { replication: "true" },
  { session_replication_role: "replica" },
  { event_triggers: "off" },
  { local_preload_libraries: "x" },
  { session_preload_libraries: "x" },
  { jit_provider: "x" },
  { allow_system_table_mods: "on" },
  { log_statement: "all" },
  { options: "-c role=postgres" },
  { options: "-crole=postgres" },
  { options: "--role=postgres" },
  { options: "--session-authorization=postgres" },
  { options: "-c session_replication_role=replica" },
  { options: "-c search_path=x\\ -c\\ role=postgres -c role=postgres" },
  { options: "-c user=postgres" },
  { options: "-c database=postgres" },
  { options: "-c=  -c" },
  { options: "-D /" },
  { options: "-W 600" },
  { options: "--config-file=/etc/passwd" },
];

/** Every shared catalog and statistics view a client may read, as text. */
const readable = [
  "pg_database",
  "pg_roles",
  "pg_user",
  "pg_group",
  "pg_auth_members",
  "pg_shdescription",
  "pg_shseclabel",
  "pg_db_role_setting",
  "pg_tablespace",
  "pg_settings",
  "pg_stat_activity",
  "pg_stat_database",
  "pg_stat_database_conflicts",
  "pg_stat_replication",
  "pg_stat_ssl",
  "pg_stat_gssapi",
  "pg_stat_progress_vacuum",
  "pg_stat_progress_create_index",
  "pg_stat_progress_copy",
  "pg_locks",
  "pg_prepared_xacts",
  "pg_prepared_statements",
  "pg_cursors",
  "pg_replication_slots",
  "pg_replication_origin",
  "pg_shdepend",
  "pg_parameter_acl",
  "pg_available_extensions",
  "pg_seclabels",
  "pg_namespace",
  "pg_description",
  "pg_publication",
  "pg_largeobject_metadata",
  "information_schema.enabled_roles",
  "information_schema.schemata",
];

export function describeNeighbours(worldOf: () => WallWorld): void {
  const each = worldOf;
  describe("other databases", () => {
    it("cannot be connected to with a native role, except the one it is for", async () => {
      const { native, attackers, ...world } = each();
      const names = await databaseNames(each());
      expect(names.length).toBeGreaterThan(8);
      const wrong: string[] = [];
      for (const { database, role } of attackers) {
        for (const name of names) {
          const code = await native.as(database, role, { database: name }).then(ended, (error) => error.code);
          const expected = name === database.name ? "ok" : name === "template0" ? "55000" : "42501";
          if (code !== expected) wrong.push(`${role} of ${database.name} to ${name}: ${code}`);
        }
      }
      expect(wrong).toEqual([]);
      expect(world.stranger.name).toMatch(/^tdb_/);
    });

    it("cannot be connected to through the gateway, by client-visible or physical name", async () => {
      const world = each();
      const names = [
        ...(await databaseNames(world)),
        "walled__borealis",
        "hyperion__olympus",
        "hyperion_workspace",
        "myapp__wayne",
        "tenantry",
        "../x",
        "",
      ];
      const wrong: string[] = [];
      for (const { target, kind } of world.attackers.filter(({ role }) => role === "admin")) {
        for (const name of names) {
          const code = await connect(world.fleet.gateway, { ...target, database: name }).then(ended, (error) => error.code);
          const own = kind === "workspace" && name === "walled__borealis"; // a workspace credential reaches its blueprint's tenants
          if (!(own ? ["ok"] : ["28P01", "28000", "3D000"]).includes(code)) wrong.push(`${kind} to ${name}: ${code}`);
        }
      }
      expect(wrong).toEqual([]);
      await world.fleet.api("GET", "/bans");
    });

    it("show no name a customer chose, in any catalog or view that can be read", async () => {
      const world = each();
      const seen: string[] = [];
      const there = await world.native.rows(undefined, "SELECT name FROM unnest($1::text[]) name WHERE to_regclass(name) IS NOT NULL", [readable]);
      expect(there.length).toBeGreaterThan(readable.length - 3); // not every version of PostgreSQL has them all
      for (const { target, database, role } of world.attackers) {
        const other = await connect(world.fleet.gateway, world.neighbourTarget);
        const running = other.query("SELECT 'borealis secret', pg_sleep(30)").catch(() => undefined);
        for (const client of [await connect(world.fleet.gateway, target), await world.native.as(database, role)]) {
          for (const { name: relation } of there) {
            const text = JSON.stringify((await client.query(`SELECT t::text AS t FROM ${relation} t`)).rows);
            for (const name of foreignNames) if (text.toLowerCase().includes(name)) seen.push(`${role} of ${database.name}: ${relation}: ${name}`);
          }
          await client.end();
        }
        other.connection.stream.destroy();
        await running;
      }
      expect(seen).toEqual([]);
    });
  });

  describe("start-up settings", () => {
    it("never change who the session is, through the gateway or past it", async () => {
      const world = each();
      const wrong: string[] = [];
      for (const trick of startupTricks) {
        for (const attacker of world.attackers.filter(({ role }) => role === "read")) {
          const got = await startWith(world, attacker, trick);
          if (!/^(42501|42601|42704|0A000|55P02|08P01|22023)$/.test(got)) wrong.push(`${JSON.stringify(trick)}: ${got}`);
        }
      }
      expect(wrong).toEqual([]);
    });

    it("a search_path of the client's leads our own statements nowhere", async () => {
      const world = each();
      const admin = world.attackers.find(({ kind, role }) => kind === "workspace" && role === "admin") as Attacker;
      const client = await connect(world.fleet.gateway, admin.target, { options: "-c search_path=trap,pg_catalog" });
      await client.query(
        `CREATE SCHEMA trap; CREATE TABLE trap.caught (who text);
         CREATE FUNCTION trap.spy(text, text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN INSERT INTO trap.caught VALUES (session_user); RETURN true; END';
         CREATE OPERATOR trap.= (LEFTARG = text, RIGHTARG = text, FUNCTION = trap.spy);
         CREATE FUNCTION trap.current_database() RETURNS name LANGUAGE plpgsql AS 'BEGIN INSERT INTO trap.caught VALUES (session_user); RETURN ''x''; END'`,
      );
      await client.query("CREATE TABLE bait (id int); DROP TABLE bait");
      await client.end();
      expect((await world.fleet.api("GET", "/workspaces/walled")).status).toBe(200);
      expect(await world.native.rows(world.workspace.name, "SELECT * FROM trap.caught")).toEqual([]);
      await world.native.rows(world.workspace.name, "DROP SCHEMA trap CASCADE");
    });
  });

  describe("sessions of others", () => {
    it("cannot be cancelled or ended, and do not show what they run", async () => {
      const world = each();
      const victim = await connect(world.fleet.gateway, world.neighbourTarget);
      const { pid } = (await victim.query("SELECT pg_backend_pid() AS pid")).rows[0];
      const [server] = await world.native.rows(
        undefined,
        "SELECT pid FROM pg_stat_activity WHERE usename = 'postgres' AND backend_type = 'client backend' LIMIT 1",
      );
      for (const { database, role } of world.attackers) {
        const client = await world.native.as(database, role);
        for (const call of [`pg_terminate_backend(${pid})`, `pg_cancel_backend(${pid})`, `pg_terminate_backend(${server.pid})`]) {
          expect([call, (await failure(client.query(`SELECT ${call}`))).code]).toEqual([call, "42501"]);
        }
        const shown = (await client.query("SELECT query, client_addr, state FROM pg_stat_activity WHERE pid = $1", [pid])).rows[0];
        expect(shown).toEqual({ query: "<insufficient privilege>", client_addr: null, state: null });
        await client.end();
      }
      expect((await victim.query("SELECT 'alive' AS is")).rows).toEqual([{ is: "alive" }]);
      await victim.end();
    });

    it("are not woken by NOTIFY, not held up by advisory locks, and keep their temporary tables to themselves", async () => {
      const world = each();
      const victim = await connect(world.fleet.gateway, world.neighbourTarget);
      const heard: string[] = [];
      victim.on("notification", ({ payload = "" }) => heard.push(payload));
      await victim.query("LISTEN shared; CREATE TEMP TABLE mine (v text); INSERT INTO mine VALUES ('borealis')");
      const { schema } = (await victim.query("SELECT pg_my_temp_schema()::regnamespace::text AS schema")).rows[0];
      for (const { target } of world.attackers) {
        const client = await connect(world.fleet.gateway, target);
        await client.query(
          "NOTIFY shared, 'from outside'; SELECT pg_notify('shared', 'from outside'); SELECT pg_advisory_lock(42), pg_advisory_lock(4, 2)",
        );
        expect((await failure(client.query(`SELECT * FROM ${schema}.mine`))).code).toMatch(/^(42P01|42501|3F000)$/);
        expect((await victim.query("SELECT pg_try_advisory_xact_lock(42) AND pg_try_advisory_xact_lock(4, 2) AS free")).rows).toEqual([
          { free: true },
        ]);
        await client.end();
      }
      await victim.query("NOTIFY shared, 'from inside'");
      await victim.query("SELECT 1");
      expect(heard).toEqual(["from inside"]);
      await victim.end();
    });
  });

  describe("one's own database, as read", () => {
    const reader = (kind: string) => each().attackers.find((one) => one.kind === kind && one.role === "read") as Attacker;

    it("takes no lock that keeps others from writing", async () => {
      for (const kind of ["tenant", "workspace"]) {
        const client = await connect(each().fleet.gateway, reader(kind).target);
        for (const mode of ["ROW SHARE", "ROW EXCLUSIVE", "SHARE", "EXCLUSIVE", "ACCESS EXCLUSIVE"]) {
          expect((await failure(client.query(`BEGIN; LOCK TABLE ledger IN ${mode} MODE`))).code).toBe("42501");
          await client.query("ROLLBACK");
        }
        expect((await failure(client.query("SELECT * FROM ledger FOR UPDATE"))).code).toBe("42501");
        await client.end();
      }
    });

    it("stores nothing: no rows, no sequence values, no large objects, no prepared transactions", async () => {
      const lo = ["lo_create(0)", "lo_creat(-1)", "lo_from_bytea(0, '')", "lo_open(1, 131072)", "lo_unlink(1)", "lo_put(1, 0, '')", "lowrite(0, '')"];
      for (const kind of ["tenant", "workspace"]) {
        const client = await connect(each().fleet.gateway, reader(kind).target);
        const attempts = [
          "INSERT INTO ledger VALUES (9)",
          "UPDATE ledger SET note = ''",
          "DELETE FROM ledger",
          "TRUNCATE ledger",
          ...lo.map((call) => `SELECT ${call}`),
        ];
        for (const sql of attempts) expect([sql, (await failure(client.query(sql))).code]).toEqual([sql, "42501"]);
        await client.query("BEGIN");
        expect((await failure(client.query("PREPARE TRANSACTION 'x'"))).code).toMatch(/^(55000|0A000)$/);
        await client.query("ROLLBACK");
        await client.end();
      }
    });

    it("sees what is made later by the rules of its role, in tenants and in the workspace", async () => {
      const world = each();
      const admin = world.attackers.find(({ kind, role }) => kind === "workspace" && role === "admin") as Attacker;
      const owner = await connect(world.fleet.gateway, admin.target);
      await owner.query("CREATE SCHEMA later; CREATE TABLE later.made (id serial); INSERT INTO later.made DEFAULT VALUES");
      await owner.end();
      await world.fleet.api("POST", "/deployments", { blueprint_name: "walled", deploy_all: true, wait: true });
      for (const kind of ["tenant", "workspace"]) {
        const client = await connect(world.fleet.gateway, reader(kind).target);
        await client.query("SELECT * FROM later.made");
        for (const sql of [
          "INSERT INTO later.made DEFAULT VALUES",
          "SELECT nextval('later.made_id_seq')",
          "DROP TABLE later.made",
          "CREATE TABLE later.x ()",
        ]) {
          expect([sql, (await failure(client.query(sql))).code]).toEqual([sql, "42501"]);
        }
        await client.end();
      }
    });
  });
}

async function databaseNames(world: WallWorld): Promise<string[]> {
  // Those in reserve may go while the list is gone through.
  const sql = `SELECT datname FROM pg_database WHERE datname NOT IN (SELECT name FROM tenantry.databases WHERE kind = 'spare') ORDER BY 1`;
  const spares = "SELECT name AS datname FROM tenantry.databases WHERE kind = 'spare' AND state = 'ready' LIMIT 2";
  return [...(await world.native.rows(undefined, sql)), ...(await world.native.rows(undefined, spares))].map((row) => row.datname);
}

async function ended(client: pg.Client): Promise<string> {
  await client.end();
  return "ok";
}

/** @returns the SQLSTATE it is refused with, or who it became. */
async function startWith(world: WallWorld, { target }: Attacker, trick: Readonly<Record<string, string>>): Promise<string> {
  const wire = await Wire.dial({ port: world.fleet.gateway.credentials.pg_port, tls: { ca: world.fleet.ca } });
  try {
    const messages = await wire.login(target.user, target.password, target.database, trick);
    const error = messages.find(({ type }) => type === "E");
    return error ? (fieldsOf(error).C ?? "") : "let in";
  } finally {
    wire.destroy();
  }
}
