/** Traces of a whole gateway on each runtime: log-ins with their phases, API requests, deployments; and what is never in them. */
import { describe, expect, it } from "vitest";
import { openCollector, type SentSpan } from "../support/collector.ts";
import { makeApi } from "./support/api.ts";
import { connect, failure, parseTarget, psql } from "./support/clients.ts";
import { type GatewayProcess, startGateway } from "./support/gateway.ts";

const callers = `00-${"c".repeat(32)}-${"d".repeat(16)}-01`;

/** Things that are to be seen, done with values that are not. @returns the secrets it had. */
async function useGateway(gateway: GatewayProcess): Promise<string[]> {
  const { api_url, api_key, project_id: user, proxy_password: password } = gateway.credentials;
  const api = makeApi(api_url, api_key);
  await api("POST", "/workspaces", { name: "myapp" });
  await psql(gateway, { user, password, database: "myapp_workspace" }, "CREATE TABLE accounts (name text DEFAULT 'secret-default')");
  const { body: made } = await api("POST", "/tenants", { tenant_id: "wayne", databases: [{ blueprint: "myapp" }] }, { traceparent: callers });
  await psql(gateway, { user, password, database: "myapp_workspace" }, "ALTER TABLE accounts ADD note text DEFAULT 'secret-default'");
  expect((await api("POST", "/deployments", { blueprint_name: "myapp", deploy_all: true, wait: true })).body.status).toBe("done");
  const tenant = parseTarget(made.databases[0].connection_string);
  const client = await connect(gateway, tenant);
  await client.query("INSERT INTO accounts VALUES ('secret-literal', $1)", ["secret-parameter"]);
  await client.end();
  expect((await failure(connect(gateway, { ...tenant, password: "secret-wrong-password" }))).code).toBe("28P01");
  await api("POST", "/tenants/wayne/query", { query: "SELECT 'secret-literal'", params: [] });
  await api("GET", "/health");
  return [api_key, password, tenant.password, "secret-"];
}

describe.each(["node", "deno", "bun"] as const)("traces on %s", (runtime) => {
  it("tell of log-ins, requests and deployments, and of no secret, statement or row", async () => {
    const collector = await openCollector();
    const gateway = await startGateway({ runtime, env: { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url } });
    try {
      const secrets = await useGateway(gateway);
      expect(await gateway.stop()).toBe(0); // what is left is sent before the end
      const { spans } = collector;
      const named = (name: string) => spans.filter((span) => span.name === name);
      const partsOf = (span: SentSpan) => spans.filter(({ parentSpanId }) => parentSpanId === span.spanId).map(({ name }) => name);
      const logins = named("PostgreSQL login").filter(({ fields }) => fields["db.namespace"] === "myapp__wayne");
      const good = logins.find((span) => span.failure === undefined);
      expect(partsOf(good!).sort()).toEqual(["authenticate", "lease", "open"]);
      expect(logins.find((span) => span.failure === "auth_failed")?.fields).toMatchObject({ "error.type": "auth_failed" });
      const created = spans.find(({ fields }) => fields["http.route"] === "/tenants" && fields["http.response.status_code"] === 201);
      expect(created).toMatchObject({ name: "POST", traceId: "c".repeat(32), parentSpanId: "d".repeat(16) });
      expect(spans.some(({ fields }) => fields["http.route"] === "/tenants/:id/query")).toBe(true);
      expect(spans.some(({ fields }) => String(fields["http.route"]).includes("health"))).toBe(false);
      const [deployment] = named("deployment");
      expect(deployment).toMatchObject({ failure: undefined, fields: { "tenantry.version": 2 } });
      expect(partsOf(deployment!)).toEqual(["deploy to tenant"]);
      expect(named("deploy to tenant")[0]!.fields).toMatchObject({ "tenantry.tenant_id": "wayne", "tenantry.status": "done" });
      for (const secret of secrets) expect(collector.text).not.toContain(secret);
      expect(collector.text).not.toMatch(/SELECT|INSERT|ALTER TABLE/);
    } finally {
      await gateway.dispose();
      await collector.close();
    }
  }, 180_000);
});
