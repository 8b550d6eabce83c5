/** Objects of another project over the API: every route of the OpenAPI document, every kind of credential, and a store that stays as it was. */
import { createHash } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeApi } from "./support/api.ts";
import { type Fleet, makeFleet } from "./support/fleet.ts";
import { type NativeServer, openNativeServer } from "./support/native.ts";

const methods = ["get", "post", "put", "patch", "delete"];
/** Work of the control plane's own, and what any use of a key or any request may touch. */
const ownPace = [
  "accounts",
  "account_sessions",
  "credentials",
  "databases",
  "verifiers",
  "audit",
  "presence",
  "meta",
  "clusters",
  "schema_checks",
  "version_schemas",
];

let fleet: Fleet;
let native: NativeServer;
let routes: { method: string; path: string }[];
/** Values for each path parameter that name things of the first project. */
let victims: Record<string, string[]>;
/** Credentials of the second project, and none. */
let callers: Record<string, string>;

beforeAll(async () => {
  fleet = await makeFleet("node");
  native = openNativeServer(fleet.gateway);
  const { api_url, project_id } = fleet.gateway.credentials;
  const document = await (await fetch(`${api_url}/openapi.json`)).json();
  routes = Object.entries(document.paths as Record<string, object>).flatMap(([path, operations]) =>
    Object.keys(operations)
      .filter((method) => methods.includes(method) && /\{\w+\}/.test(path))
      .map((method) => ({ method: method.toUpperCase(), path })),
  );
  const { body: deployment } = await fleet.api("POST", "/deployments", { blueprint_name: "myapp", deploy_all: true, wait: true });
  const idOf = async (table: string) =>
    (await native.rows(undefined, `SELECT id FROM tenantry.${table} WHERE project_id = $1 LIMIT 1`, [project_id]))[0].id as string;
  const deploymentId = deployment.deployment_id ?? deployment.id;
  expect(deploymentId).toMatch(/^dep_/);
  victims = {
    id: ["wayne", "myapp", await idOf("workspaces"), await idOf("credentials"), deploymentId, project_id, "../wayne", "wayne%2f..", "__proto__", "0"],
    name: ["myapp", "other_app"],
  };
  callers = { "no token": "", ...(await secondProject(api_url)) };
}, 180_000);
afterAll(async () => {
  await native?.close();
  await fleet?.dispose();
});

async function secondProject(apiUrl: string): Promise<Record<string, string>> {
  const signup = { email: "eve@second.example", password: "a long password", project_name: "Second" };
  const { body } = await makeApi(apiUrl, "")("POST", "/signup", signup);
  const api = makeApi(apiUrl, body.api_key);
  await api("POST", "/workspaces", { name: "evil", database: "PostgreSQL" });
  await api("POST", "/tenants", { tenant_id: "eve", databases: [{ blueprint: "evil" }] });
  const make = async (role: string, scope_type: string, scope_values: string[] = []) =>
    (await api("POST", "/apikeys", { name: `${role} ${scope_type}`, role, scope_type, scope_values })).body.key as string;
  return {
    admin: body.api_key,
    write: await make("write", "project"),
    read: await make("read", "project"),
    workspace: await make("admin", "workspace", ["evil"]),
    tenant: await make("admin", "tenant", ["eve"]),
  };
}

/** A digest of every table of the store, of the first project's part where a table has one. */
async function dump(): Promise<Record<string, string>> {
  const tables = await native.rows(undefined, "SELECT relname AS name FROM pg_class WHERE relnamespace = 'tenantry'::regnamespace AND relkind = 'r'");
  const found: Record<string, string> = {};
  for (const { name } of tables) {
    if (ownPace.includes(name) || name.startsWith("query_")) continue; // the query log is written at its own pace too
    const rows = await native.rows(undefined, `SELECT t::text AS t FROM tenantry.${name} t`);
    found[name] = createHash("sha256")
      .update(
        rows
          .map((row) => row.t)
          .sort()
          .join("\n"),
      )
      .digest("hex");
  }
  const { project_id } = fleet.gateway.credentials;
  const keys = "SELECT id, role, scope_type, scope_values::text, expires_at, revoked_at FROM tenantry.credentials WHERE project_id = $1 ORDER BY id";
  found.credentials = JSON.stringify(await native.rows(undefined, keys, [project_id]));
  const databases = "SELECT name, state, connectable FROM tenantry.databases WHERE project_id = $1 AND kind <> 'spare' ORDER BY name";
  found.databases = JSON.stringify(await native.rows(undefined, databases, [project_id]));
  return found;
}

describe("another project's objects", () => {
  it("are refused to every caller on every route, and nothing changes", async () => {
    expect(routes.length).toBeGreaterThan(20);
    const before = await dump();
    const wrong: string[] = [];
    for (const { method, path } of routes) {
      for (const [caller, key] of Object.entries(callers)) {
        const api = makeApi(fleet.gateway.credentials.api_url, key);
        for (const victim of victims[/\{name\}/.test(path) ? "name" : "id"] ?? []) {
          const at = path
            .replace(/\{(id|name)\}/, victim)
            .replace("{version}", "1")
            .replace(/\{\w+\}/, victim);
          const answer = await api(
            method,
            `${at}${method === "DELETE" ? `?hard=true&confirm=${victim}` : ""}`,
            method === "GET" ? undefined : {},
          ).catch((error) => ({ status: 0, body: String(error) }));
          const expected = caller === "no token" ? [401, 404] : [400, 401, 403, 404];
          if (!expected.includes(answer.status))
            wrong.push(`${caller}: ${method} ${at}: ${answer.status} ${JSON.stringify(answer.body).slice(0, 200)}`);
        }
      }
    }
    expect(wrong).toEqual([]);
    expect(await dump()).toEqual(before);
  }, 180_000);
});
