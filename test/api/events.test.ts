/** GET /deployments/{id}/events: a deployment as server-sent events. */
import { describe, expect, it } from "vitest";
import { makeWorld, type World } from "./support/world.ts";

const follow = (world: World, key: string, id = world.deploymentId) =>
  world.app.request(`/deployments/${id}/events`, { headers: { authorization: `Bearer ${key}` } }, { remoteAddress: "192.0.2.1" });

describe("events of a deployment", () => {
  it("are what is so already, a result for each tenant, and the end, which closes the stream", async () => {
    const world = await makeWorld();
    const response = await follow(world, world.keys.workspace.read);
    expect([response.status, response.headers.get("content-type"), response.headers.get("cache-control")]).toEqual([
      200,
      "text/event-stream",
      "no-store",
    ]);
    const events = (await response.text())
      .split("\n\n")
      .filter((block) => block.startsWith("event:"))
      .map((block) => /^event: (\w+)\ndata: (.+)$/.exec(block)!.slice(1) as [string, string])
      .map(([event, data]) => ({ event, data: JSON.parse(data) }));
    const { results } = await world.control.getDeployment(world.projectId, world.deploymentId);
    expect(events[0]).toMatchObject({ event: "progress", data: { id: world.deploymentId, status: "queued" } });
    expect(events.slice(1, -1).map(({ event, data }) => [event, data.tenant_id, data.status])).toEqual(
      results.map(({ tenantId }) => ["result", tenantId, "done"]),
    );
    expect(events.at(-1)).toMatchObject({ event: "end", data: { status: "done", tenants_failed: 0 } });
  });

  it("are nobody's whose scope does not cover the blueprint, or whose project has no such deployment", async () => {
    const world = await makeWorld();
    expect((await follow(world, world.keys.tenant.admin)).status).toBe(403);
    expect((await follow(world, world.otherKey)).status).toBe(404);
    expect((await follow(world, world.key, "dep_00")).status).toBe(404);
    expect((await follow(world, world.key, "..%2f")).status).toBe(404);
  });
});
