/** The gateway beside PostgreSQL itself: the same bytes sent to both, the same bytes expected back, whole and in pieces. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeApi } from "../e2e/support/api.ts";
import { parseTarget, psql, type Target } from "../e2e/support/clients.ts";
import { type GatewayProcess, makeDataDir, type RuntimeUnderTest, startGateway } from "../e2e/support/gateway.ts";
import { until } from "../e2e/support/until.ts";
import { fieldsOf, type Message, query, show, Wire } from "../e2e/support/wire.ts";
import { startTestPostgres, type TestPostgres } from "../support/postgres.ts";
import { type Script, scripts } from "./wire-oracle-scripts.ts";

export function describeOracle(runtime: RuntimeUnderTest, poolMode: "session" | "transaction" = "session"): void {
  describe(`byte for byte under ${runtime}, pool_mode=${poolMode}`, () => {
    let postgres: TestPostgres;
    let gateway: GatewayProcess;
    const targets: Record<"workspace" | "tenant", Target> = {} as never;
    const physical: Record<"workspace" | "tenant", string> = {} as never;

    beforeAll(async () => {
      postgres = await startTestPostgres();
      const { port, user, password, socketDir } = postgres.target as { port: number; user: string; password: string; socketDir: string };
      gateway = await startGateway({
        runtime,
        dataDir: await makeDataDir(),
        args: ["--database-url", `postgresql://${user}:${password}@localhost:${port}/postgres?host=${encodeURIComponent(socketDir)}`],
      });
      const { credentials } = gateway;
      const api = makeApi(credentials.api_url, credentials.api_key);
      targets.workspace = { user: credentials.project_id, password: credentials.proxy_password, database: "myapp_workspace" };
      await api("POST", "/workspaces", { name: "myapp", database: "PostgreSQL" });
      const made = await psql(gateway, targets.workspace, "CREATE TABLE accounts (id serial PRIMARY KEY, name text NOT NULL)");
      expect(made.stderr).toBe("");
      const { body } = await api("POST", "/tenants", { tenant_id: "wayne", databases: [{ blueprint: "myapp" }] });
      targets.tenant = parseTarget(body.databases[0].connection_string);
      // The tenant's statements are all read and its rows counted; the workspace's pass unread.
      await api("PATCH", "/workspaces/myapp/settings", { allow_copy: true, pool_mode: poolMode });
      await api("PATCH", "/tenants/wayne/settings", { max_rows_per_query: 1_000_000 });
      for (const where of ["workspace", "tenant"] as const) {
        const named = await psql(gateway, targets[where], "SELECT current_database()");
        physical[where] = named.stdout.trim();
        await until(async () => {
          const wire = await dialGateway(where);
          wire.send(query("COPY (SELECT 1) TO STDOUT"));
          const done = (await wire.readUntil("Z")).every(({ type }) => type !== "E");
          wire.end();
          return done;
        });
      }
    });

    afterAll(async () => {
      await gateway?.dispose();
      await postgres?.stop();
    });

    async function dialGateway(where: "workspace" | "tenant"): Promise<Wire> {
      const { user, password, database } = targets[where];
      const wire = await Wire.dial({ port: gateway.credentials.pg_port });
      const messages = await wire.login(user, password, database);
      if (messages.at(-1)?.type !== "Z") throw new Error(messages.map(show).join(" "));
      return wire;
    }

    /** As the same native role, whose password nobody knows: a superuser takes its place. */
    async function dialServer(where: "workspace" | "tenant"): Promise<Wire> {
      const { port, user, password, socketDir } = postgres.target as { port: number; user: string; password: string; socketDir: string };
      const wire = await Wire.dial({ path: join(socketDir, `.s.PGSQL.${port}`) });
      await wire.login(user, password, physical[where]);
      wire.send(query(`SET SESSION AUTHORIZATION "${physical[where]}_admin"`));
      const messages = await wire.readUntil("Z");
      if (messages.some(({ type }) => type === "E")) throw new Error(messages.map(show).join(" "));
      return wire;
    }

    /** A last query behind it shows that nothing is left over. */
    async function play(wire: Wire, { bytes, answers, next }: Script, pieces: number | undefined): Promise<Message[]> {
      const last = query("SELECT 'the end'");
      const messages: Message[] = [];
      if (pieces === undefined) wire.send(bytes);
      else wire.sendInPieces(bytes, pieces);
      for (const step of next ?? []) {
        messages.push(...(await wire.readUntil(step.after)));
        wire.send(step.bytes);
      }
      const seen = messages.filter(({ type }) => type === "Z").length;
      messages.push(...(await wire.readUntil("Z", answers - seen)));
      wire.send(last);
      messages.push(...(await wire.readUntil("Z")));
      wire.end();
      return messages;
    }

    for (const script of scripts) {
      it(script.name, async () => {
        for (const where of ["workspace", "tenant"] as const) {
          const wanted = (await play(await dialServer(where), script, undefined)).map(asText);
          for (const pieces of [undefined, 1, 7]) {
            if (pieces !== undefined && script.bytes.length / pieces > 20_000) continue;
            const got = (await play(await dialGateway(where), script, pieces)).map(asText);
            expect([where, pieces, ...got]).toEqual([where, pieces, ...wanted]);
          }
        }
      });
    }

    it("an existing server is used as it is: nothing is embedded, its databases are left alone", async () => {
      expect(gateway.output()).toContain("the server of --database-url");
      await expect(readFile(join(gateway.dataDir, "postgres/PG_VERSION"))).rejects.toThrow("ENOENT");
      const wire = await dialGateway("tenant");
      wire.send(query("SELECT 1/0"));
      expect(fieldsOf((await wire.readUntil("Z"))[0])).toMatchObject({ C: "22012" });
      wire.end();
    });
  });
}

function asText(message: Message): string {
  return `${message.type} ${message.body.toString("latin1")}`;
}
