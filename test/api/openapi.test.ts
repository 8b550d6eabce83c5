/** OpenAPI: the document names every route, resolves, and its examples and pages come from this machine. */
import { describe, expect, it } from "vitest";
import { policies } from "../../api/app.ts";
import { makeWorld } from "./support/world.ts";

type Json = Record<string, unknown>;

function securityOf(who: string): object[] {
  if (who === "open") return [];
  if (who === "operator" || who === "metrics") return [{ [`${who}_token`]: [] }];
  return [{ api_key: [] }];
}

describe("openapi.json", () => {
  it("is an OpenAPI 3.1 document of exactly the routes there are", async () => {
    const { send } = await makeWorld();
    const { body } = await send("GET", "/openapi.json");
    expect(body.openapi).toBe("3.1.0");
    expect(body.info).toMatchObject({ title: "Tenantry API", version: "0.1.0" });
    const documented = Object.entries(body.paths as Record<string, Json>).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method.toUpperCase()} ${path.replaceAll(/\{(\w+)\}/g, ":$1")}`),
    );
    const served = policies.filter(({ path }) => !/^\/(docs|openapi)/.test(path)).map(({ method, path }) => `${method} ${path}`);
    expect(documented.sort()).toEqual(served.sort());
  });

  it("describes every operation: summary, tag, security, answers with the envelope, parameters of its path", async () => {
    const { send } = await makeWorld();
    const { body } = await send("GET", "/openapi.json");
    for (const [path, methods] of Object.entries(body.paths as Record<string, Record<string, Json>>)) {
      for (const [method, operation] of Object.entries(methods)) {
        const name = `${method} ${path}`;
        const policy = policies.find((row) => row.method === method.toUpperCase() && row.path === path.replaceAll(/\{(\w+)\}/g, ":$1"))!.policy;
        expect(operation.summary, name).toMatch(/\w/);
        expect(operation.tags, name).toHaveLength(1);
        expect(operation.security, name).toEqual(securityOf(policy.who));
        const parameters = ((operation.parameters ?? []) as { in: string; name: string }[]).filter((parameter) => parameter.in === "path");
        expect(parameters.map((parameter) => parameter.name).sort(), name).toEqual([...path.matchAll(/\{(\w+)\}/g)].map((found) => found[1]).sort());
        const responses = operation.responses as Record<string, { content: Record<string, { schema: { required?: string[] } }> }>;
        expect(Object.keys(responses), name).toContain("default");
        for (const [status, response] of Object.entries(responses)) {
          // Prometheus' text, event streams and files stand in no envelope.
          if (/^2/.test(status) && path !== "/metrics" && !response.content["text/event-stream"] && !response.content["application/gzip"])
            expect(response.content["application/json"]!.schema.required, name).toEqual(expect.arrayContaining(["success", "http_status", "code"]));
        }
      }
    }
  });

  it("has no reference that leads nowhere", async () => {
    const { send } = await makeWorld();
    const { body } = await send("GET", "/openapi.json");
    const references: string[] = [];
    const visit = (value: unknown) => {
      if (typeof value !== "object" || value === null) return;
      for (const [key, child] of Object.entries(value)) {
        if (key === "$ref") references.push(child as string);
        else visit(child);
      }
    };
    visit(body);
    expect(references.length).toBeGreaterThan(10);
    for (const reference of references) {
      const target = reference
        .replace("#/", "")
        .split("/")
        .reduce<Json | undefined>((at, key) => at?.[key] as Json | undefined, body);
      expect(target, reference).toBeDefined();
    }
  });

  it("has an example in every request body", async () => {
    const { send } = await makeWorld();
    const { body } = await send("GET", "/openapi.json");
    const schemas = body.components.schemas as Record<string, { properties: Record<string, Json> }>;
    for (const name of ["Signup", "Login", "NewApiKey", "NewWorkspace", "NewTenant", "NewDeployment", "Query"]) {
      expect(JSON.stringify(schemas[name]), name).toContain('"example"');
    }
  });
});

describe("docs", () => {
  it("come from this machine only, under a strict policy", async () => {
    const { send } = await makeWorld();
    const page = await send("GET", "/docs");
    expect(page.headers.get("content-type")).toContain("text/html");
    expect(page.headers.get("content-security-policy")).toContain("script-src 'self'");
    expect(page.body).not.toMatch(/https?:\/\//);
    for (const [, path] of (page.body as string).matchAll(/(?:src|href)="(\/docs\/[^"]+)"/g)) {
      const file = await send("GET", path!);
      expect(file.status, path).toBe(200);
      expect(file.headers.get("content-type")).toMatch(path!.endsWith(".css") ? "text/css" : "text/javascript");
    }
  });

  it.each(["package.json", "..%2fpackage.json", "__proto__", "swagger-ui.css.map"])("does not serve %s", async (name) => {
    const { send } = await makeWorld();
    expect((await send("GET", `/docs/${name}`)).status).toBe(404);
  });
});
