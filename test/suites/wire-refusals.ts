/** What a client is told that may not log in: spec section 3's table up to max_connections, as node-postgres and psql show it. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connect, failure, parseTarget, psql, type Target } from "../e2e/support/clients.ts";
import type { Fleet } from "../e2e/support/fleet.ts";
import { until } from "../e2e/support/until.ts";
import { fieldsOf, show, startup, Wire } from "../e2e/support/wire.ts";

export function describeRefusals(fleetOf: () => Fleet): void {
  describe("refusals at login", () => {
    let fleet: Fleet;
    let reader: Target;

    beforeAll(async () => {
      fleet = fleetOf();
      reader = fleet.tenant("wayne");
    });

    /** The same words in every client, over TLS and in clear. A success afterwards keeps the address from being banned. */
    async function expectRefused(target: Target, code: string, message: string): Promise<void> {
      const attempts = (["verify-full", "disable"] as const).map(async (sslmode) => {
        const [error, shown] = await Promise.all([
          failure(connect(fleet.gateway, { ...target, sslmode })),
          psql(fleet.gateway, { ...target, sslmode }, "SELECT 1"),
        ]);
        expect([error.severity, error.code, error.message]).toEqual(["FATAL", code, message]);
        expect([shown.code, shown.stdout]).toEqual([2, ""]);
        expect(shown.stderr).toMatch(/^psql: error: connection to server at "localhost" \(.*\), port \d+ failed: /);
        expect(shown.stderr.split("failed: ")[1]?.split("\n")[0]).toBe(`FATAL:  ${message}`);
      });
      await Promise.all(attempts);
      await (await connect(fleet.gateway, reader)).end();
    }

    it("a wrong password", async () => {
      const target = { ...fleet.tenant("wayne"), password: "tdb_0000000000000000" };
      await expectRefused(target, "28P01", `password authentication failed for user "${target.user}"`);
    });

    it("an unknown user, in the same words", async () => {
      await expectRefused({ ...fleet.tenant("wayne"), user: "tdb_00000000" }, "28P01", 'password authentication failed for user "tdb_00000000"');
    });

    it("an unknown user, in the same shape: messages, lengths, a salt that stays", async () => {
      const shapes = [];
      const salts = [];
      for (const user of [reader.user, "tdb_00000000", "tdb_00000000", "postgres", "postgres"]) {
        const wire = await Wire.dial({ port: fleet.gateway.credentials.pg_port });
        const messages = await wire.login(user, "wrong", "myapp__wayne");
        shapes.push(messages.map(({ type, body }) => `${type}${type === "E" ? body.length - user.length : body.length}`).join(" "));
        salts.push(/s=([^,]+)/.exec(messages.map(show).join(" "))?.[1]);
        expect(fieldsOf(messages.at(-1))).toMatchObject({ S: "FATAL", V: "FATAL", C: "28P01" });
      }
      expect(new Set(shapes).size).toBe(1);
      expect(salts[1]).toBe(salts[2]);
      expect(salts[3]).toBe(salts[4]);
      expect(new Set(salts).size).toBe(3);
      await (await connect(fleet.gateway, reader)).end();
    });

    it("a name that does not exist, with a wrong password: nothing is told of existence", async () => {
      await expectRefused(
        { ...reader, password: "tdb_0000000000000000", database: "nobody__nowhere" },
        "28P01",
        `password authentication failed for user "${reader.user}"`,
      );
    });

    it("the project's credential on a tenant", () =>
      expectRefused(
        fleet.project("myapp__wayne"),
        "28000",
        "credential is project-scoped; direct-tenant connections require a tenant-scoped or workspace-scoped key",
      ));

    it("a workspace's credential on another workspace, and on a tenant of another blueprint", async () => {
      const { password } = await fleet.makeKey({ scope_type: "workspace", scope_values: ["myapp"] });
      const message = 'credential scoped to workspaces [myapp], attempted workspace "other_app"';
      for (const database of ["other_app_workspace", "other_app__acme"])
        await expectRefused({ ...fleet.project(database), password }, "28000", message);
      for (const database of ["myapp_workspace", "myapp__wayne", "myapp__globex"]) {
        await (await connect(fleet.gateway, { ...fleet.project(database), password })).end();
      }
    });

    it("a tenant's credential on another tenant", () =>
      expectRefused(
        { ...fleet.tenant("wayne"), database: "myapp__globex" },
        "28000",
        'credential scoped to tenants [wayne], attempted tenant "globex"',
      ));

    it("a tenant's credential on a workspace", () =>
      expectRefused(
        { ...fleet.tenant("wayne"), database: "myapp_workspace" },
        "28000",
        'credential scoped to tenants [wayne], attempted workspace "myapp"',
      ));

    it("a blueprint of another engine", async () => {
      expect((await fleet.api("POST", "/workspaces", { name: "mysql_test", database: "MySQL" })).status).toBe(201);
      await expectRefused(
        fleet.project("mysql_test_workspace"),
        "08004",
        'blueprint "mysql_test" is MySQL, not PostgreSQL. Connect via the mysql proxy instead.',
      );
    });

    it("no such database", async () => {
      await expectRefused(fleet.project("nobody_workspace"), "3D000", 'database "nobody_workspace" does not exist');
      const { password } = await fleet.makeKey({ scope_type: "workspace", scope_values: ["myapp"] });
      await expectRefused({ ...fleet.project("myapp__nobody"), password }, "3D000", 'database "myapp__nobody" does not exist');
    });

    it("a suspended tenant, one that is back, one in the trash", async () => {
      const target = await fleet.addTenant("hank");
      await fleet.api("POST", "/tenants/hank/suspend");
      await expectRefused(target, "57P03", 'tenant "hank" is suspended');
      await fleet.api("POST", "/tenants/hank/resume");
      await (await connect(fleet.gateway, target)).end();
      await fleet.api("DELETE", "/tenants/hank");
      await expectRefused(target, "3D000", 'tenant "hank" is in trash');
      await fleet.api("POST", "/tenants/hank/restore");
      await (await connect(fleet.gateway, target)).end();
    });

    it("more connections than max_connections, counted per database", async () => {
      await fleet.setSettings({ max_connections: 2 });
      const open = [await connect(fleet.gateway, fleet.tenant("wayne")), await connect(fleet.gateway, fleet.tenant("wayne"))];
      try {
        await expectRefusedFull(fleet.tenant("wayne"), 'too many connections for database "myapp__wayne" (max_connections = 2)');
        await (await connect(fleet.gateway, fleet.tenant("globex"))).end();
        await open.pop()?.end();
        await until(async () => {
          const again = await connect(fleet.gateway, fleet.tenant("wayne")).catch(() => undefined);
          await again?.end();
          return again !== undefined;
        });
      } finally {
        for (const client of open) await client.end();
        await fleet.setSettings({ max_connections: 100 });
      }
    });

    async function expectRefusedFull(target: Target, message: string): Promise<void> {
      const error = await failure(connect(fleet.gateway, target));
      expect([error.severity, error.code, error.message]).toEqual(["FATAL", "53300", message]);
      expect((await psql(fleet.gateway, target, "SELECT 1")).stderr).toContain(`failed: FATAL:  ${message}\n`);
    }

    it("replication, and settings that would change who the session is", async () => {
      const cases: [Record<string, string>, string, string][] = [
        [{ replication: "database" }, "0A000", "replication connections are not supported through the gateway"],
        [{ role: "postgres" }, "42501", 'permission denied to set parameter "role" at connection start'],
        [{ options: "-c session_authorization=postgres" }, "42501", 'permission denied to set parameter "session_authorization" at connection start'],
      ];
      for (const [parameters, code, message] of cases) {
        const wire = await Wire.dial({ port: fleet.gateway.credentials.pg_port });
        const messages = await wire.login(reader.user, reader.password, reader.database, parameters);
        expect(fieldsOf(messages.at(-1))).toMatchObject({ S: "FATAL", C: code, M: message });
      }
    });

    it("a second StartupMessage in the middle of the login", async () => {
      const wire = await Wire.dial({ port: fleet.gateway.credentials.pg_port });
      wire.send(startup({ user: reader.user, database: reader.database }));
      await wire.next();
      wire.send(startup({ user: "tdb_00000000", database: reader.database }));
      const messages = await wire.readToEnd();
      expect(messages.map(({ type }) => type)).toEqual(["E"]);
      expect(fieldsOf(messages[0]).C).toBe("08P01");
    });

    it("a key revoked or rotated a moment ago; one made a moment ago comes in", async () => {
      for (let i = 0; i < 10; i++) {
        await (await connect(fleet.gateway, fleet.tenant("wayne"))).end(); // what is known of the database is known already
        const { id, password } = await fleet.makeKey({ scope_type: "tenant", scope_values: ["wayne"] });
        await (await connect(fleet.gateway, { ...fleet.tenant("wayne"), password })).end();
        const { body } = await fleet.api("POST", `/apikeys/${id}/rotate`, {});
        expect((await failure(connect(fleet.gateway, { ...fleet.tenant("wayne"), password }))).code).toBe("28P01");
        const rotated = { ...fleet.tenant("wayne"), password: body.proxy_password as string };
        await (await connect(fleet.gateway, rotated)).end();
        await fleet.api("DELETE", `/apikeys/${id}`);
        expect((await failure(connect(fleet.gateway, rotated))).code).toBe("28P01");
      }
    });

    it("connection strings the API hands out open what they name", async () => {
      const { body } = await fleet.api("POST", "/apikeys", { name: "strings", scope_type: "workspace", scope_values: ["other_app"] });
      const targets = (body.connection_strings as string[]).map(parseTarget);
      expect(targets.map(({ database }) => database).sort()).toEqual(["other_app__acme", "other_app_workspace"]);
      for (const target of targets) await (await connect(fleet.gateway, target)).end();
    });

    afterAll(async () => {
      await fleet.api("POST", "/tenants/hank/restore");
    });
  });
}
