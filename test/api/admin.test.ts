/** POST /admin/query: one tenant, all tenants, JSON and JSON lines, and who may not. */
import { describe, expect, it } from "vitest";
import type { Idempotency, RememberedRequest } from "../../core/idempotency.ts";
import { makeWorld } from "./support/world.ts";

const statement = { blueprint: "myapp", query: "SELECT 1" };

describe("POST /admin/query", () => {
  it("answers for one tenant and for all, failures among them", async () => {
    const world = await makeWorld();
    const ask = (body: object) => world.send("POST", "/admin/query", { key: world.key, body: { ...statement, ...body } });
    expect((await ask({ tenant_id: "wayne" })).body).toMatchObject({
      code: "ok",
      tenants_ok: 1,
      tenants_failed: 0,
      results: [{ tenant_id: "wayne", rows: [[1]] }],
    });
    const everybody = (await ask({ all_tenants: true, concurrency: 2 })).body;
    expect(everybody.tenants_failed).toBe(1);
    expect(everybody.results).toContainEqual({ tenant_id: "globex", code: "bad_request", error: "division by zero", sqlstate: "22012" });
    expect(world.control.calls).toContain("queryTenants myapp all 2");
  });

  it("writes a line for each tenant when lines are asked for", async () => {
    const world = await makeWorld();
    const response = await world.app.request(
      "/admin/query",
      {
        method: "POST",
        headers: { authorization: `Bearer ${world.key}`, "content-type": "application/json", accept: "application/x-ndjson" },
        body: JSON.stringify({ ...statement, all_tenants: true }),
      },
      { remoteAddress: "127.0.0.1" },
    );
    expect([response.status, response.headers.get("content-type")]).toEqual([200, "application/x-ndjson"]);
    const lines = (await response.text())
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(lines.map((line) => [line.tenant_id, line.code]).sort()).toEqual(everyTenant(lines));
    expect(lines.some((line) => line.error === "division by zero")).toBe(true);
  });

  it("records what ran before the answers had too many rows together, and does not run it again for the same Idempotency-Key", async () => {
    const remembered = new Map<string, RememberedRequest>();
    const idempotency: Idempotency = {
      async begin(_owner, key, requestHash) {
        const known = remembered.get(key);
        if (!known) remembered.set(key, { requestHash, answer: undefined });
        return known;
      },
      finish: async () => undefined,
      abandon: async (_owner, key) => void remembered.delete(key),
    };
    const world = await makeWorld({ idempotency });
    const { queryTenants } = world.control;
    world.control.queryTenants = async function* (...args) {
      for await (const each of queryTenants.apply(this, args)) yield { ...each, answer: { ...each.answer!, rows: Array(60_000).fill([1]) } };
    };
    const body = { ...statement, query: "UPDATE accounts SET name = 'x' RETURNING id", all_tenants: true };
    const ask = () => world.send("POST", "/admin/query", { key: world.key, body, headers: { "idempotency-key": "once" } });
    expect((await ask()).status).toBe(413);
    expect(world.operations.recorded).toMatchObject([{ action: "POST /admin/query", status: 413 }]);
    expect((await ask()).body).toMatchObject({ code: "conflict", error: expect.stringContaining("look what was made") });
    expect(world.control.calls.filter((call) => call.startsWith("queryTenants"))).toHaveLength(1);
    expect(world.operations.recorded).toHaveLength(1);
  });

  it("refuses what names no tenant, both, an unknown one, or nonsense", async () => {
    const world = await makeWorld();
    const code = async (body: unknown) => (await world.send("POST", "/admin/query", { key: world.key, body: body as object })).body.code;
    expect(await code(statement)).toBe("bad_request");
    expect(await code({ ...statement, all_tenants: true, tenant_id: "wayne" })).toBe("bad_request");
    expect(await code({ ...statement, all_tenants: true, concurrency: 0 })).toBe("bad_request");
    expect(await code({ ...statement, all_tenants: true, more: 1 })).toBe("bad_request");
    expect(await code({ ...statement, query: "", all_tenants: true })).toBe("bad_request");
    expect(await code({ ...statement, tenant_id: "nobody" })).toBe("not_found");
    expect(await code({ ...statement, blueprint: "nowhere", all_tenants: true })).toBe("not_found");
  });
});

function everyTenant(lines: { tenant_id: string; code: string }[]) {
  return lines.map((line) => [line.tenant_id, line.tenant_id === "globex" ? "bad_request" : "ok"]).sort();
}
