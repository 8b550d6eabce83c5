/** What a role may change of itself, PostgreSQL being as it is: its password and its settings. Neither may reach the next session of that role. */
import { describe, expect, it } from "vitest";
import { makeApi } from "../e2e/support/api.ts";
import { connect } from "../e2e/support/clients.ts";
import type { Attacker, WallWorld } from "./wall-world.ts";

/** Each would be noticed by the next one who logs in. */
const poisons = [
  "search_path TO pg_temp, nowhere",
  "statement_timeout TO '1ms'",
  "idle_session_timeout TO '1ms'",
  "default_transaction_read_only TO on",
  "transaction_timeout TO '1ms'",
  "DateStyle TO 'SQL, DMY'",
  "TimeZone TO 'Pacific/Kiritimati'",
  "enable_seqscan TO off",
  "work_mem TO '64kB'",
  "standard_conforming_strings TO off",
  "application_name TO 'poisoned'",
];

const sane = {
  search_path: '"$user", public',
  statement_timeout: "0",
  idle_session_timeout: "0",
  transaction_timeout: "0",
  default_transaction_read_only: "off",
  DateStyle: "ISO, MDY",
  enable_seqscan: "on",
  work_mem: "4MB",
  standard_conforming_strings: "on",
};

/** A setting this version of PostgreSQL does not know cannot be poisoned. */
const showSql = `SELECT ${Object.entries(sane)
  .map(([name, value]) => `coalesce(current_setting('${name}', true), '${value}') AS "${name}"`)
  .join(", ")}`;

export function describePoison(worldOf: () => WallWorld): void {
  describe("a role that changes itself", () => {
    const attacker = (kind: string, role: string) => worldOf().attackers.find((one) => one.kind === kind && one.role === role) as Attacker;

    for (const kind of ["tenant", "workspace"] as const) {
      for (const role of ["admin", "write", "read"] as const) {
        it(`${role} of a ${kind}: nothing of its settings and password reaches the next session`, async () => {
          const world = worldOf();
          const { target, database } = attacker(kind, role);
          await poison(world, attacker(kind, role));
          const { password, key } = await world.fleet.makeKey({ role, scope_type: kind, scope_values: [kind === "tenant" ? "ada" : "walled"] });
          // A name of its own makes sure that no pooled session is taken.
          const client = await connect(world.fleet.gateway, { ...target, password }, { application_name: `after ${kind} ${role}` });
          expect((await client.query(showSql)).rows).toEqual([sane]);
          expect((await client.query("SHOW application_name")).rows).toEqual([{ application_name: `after ${kind} ${role}` }]);
          await client.end();
          await poison(world, attacker(kind, role));
          const api = makeApi(world.fleet.gateway.credentials.api_url, key);
          const path = kind === "tenant" ? "/tenants/ada/query" : "/workspaces/walled/queries";
          const answer = await api("POST", path, { query: "SELECT current_setting('search_path'), current_setting('work_mem')" });
          expect(answer.body).toMatchObject({ success: true, rows: [[sane.search_path, sane.work_mem]] });
          expect(await world.native.rows(undefined, keptSql, [`${database.name}_${role}`])).toEqual([]);
          const again = await world.native.as(database, role); // with the derived password
          await again.end();
        });
      }
    }

    it("a session that was open before is given back clean, and so are those that come after", async () => {
      const world = worldOf();
      const { target } = attacker("tenant", "write");
      const named = { application_name: "pooled before" };
      const before = await connect(world.fleet.gateway, target, named);
      await poison(world, attacker("tenant", "write"));
      await before.end();
      for (let i = 0; i < 3; i++) {
        const client = await connect(world.fleet.gateway, target, named);
        expect((await client.query(showSql)).rows).toEqual([sane]);
        await client.end();
      }
    });

    it("a SECURITY DEFINER function of the blueprint that changes the owner keeps no deployment from working", async () => {
      const world = worldOf();
      const client = await connect(world.fleet.gateway, attacker("tenant", "read").target);
      for (const change of ["SET statement_timeout TO ''1ms''", "SET search_path TO nowhere", "PASSWORD ''x''"]) {
        await client.query(`SELECT run_as_owner('ALTER ROLE CURRENT_USER ${change}')`);
      }
      await client.end();
      const admin = await connect(world.fleet.gateway, attacker("workspace", "admin").target);
      await admin.query("CREATE TABLE after_poison (id int)");
      await admin.end();
      const { body } = await world.fleet.api("POST", "/deployments", { blueprint_name: "walled", deploy_all: true, wait: true });
      expect(body.results.map((result: { status: string }) => result.status)).not.toContain("failed");
      expect(await world.native.rows(world.tenant.name, "SELECT to_regclass('public.after_poison')::text AS t")).toEqual([{ t: "after_poison" }]);
      expect(await world.native.rows(undefined, keptSql, [`${world.tenant.name}_owner`])).toEqual([]);
    });
  });
}

const keptSql = "SELECT s.setconfig FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole WHERE r.rolname = $1";

/** By every way there is: for all databases, for its own, for another's; then a password of its own choice. */
async function poison(world: WallWorld, { target, database, role }: Attacker): Promise<void> {
  const client = await connect(world.fleet.gateway, target, { application_name: "poisoner" });
  const run = (sql: string) => client.query(`DO $wall$BEGIN EXECUTE $do$ALTER ROLE CURRENT_USER ${sql}$do$; END$wall$`);
  const known = await world.native.rows(undefined, "SELECT lower(name) AS name FROM pg_settings");
  const isKnown = (setting: string) => known.some(({ name }) => name === setting.split(" ")[0]?.toLowerCase());
  for (const setting of poisons.filter(isKnown)) {
    await run(`SET ${setting}`);
    await run(`IN DATABASE ${database.name} SET ${setting}`);
  }
  await run(`IN DATABASE ${world.stranger.name} SET application_name TO 'left where everybody reads it'`);
  await run("PASSWORD 'mine now'");
  const kept = await world.native.rows(undefined, keptSql, [`${database.name}_${role}`]);
  expect(kept.length).toBe(3);
  await client.end();
}
