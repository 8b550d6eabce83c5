/** GET /deployments/{id}/events: a deployment as server-sent events. */
import { afterEach, describe, expect, it, vi } from "vitest";
import type { DeploymentEvent } from "../../core/control-plane.ts";
import { makeWorld, type World } from "./support/world.ts";

const follow = (world: World, key: string, id = world.deploymentId) =>
  world.app.request(`/deployments/${id}/events`, { headers: { authorization: `Bearer ${key}` } }, { remoteAddress: "192.0.2.1" });

afterEach(() => void vi.useRealTimers());

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
    const { results } = await world.control.getDeployment(world.projectId, world.deploymentId, { shown: "all", limit: 9 });
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

  it("come with a line of comment every 15 seconds of silence, until the client leaves, which ends what feeds them", async () => {
    vi.useFakeTimers({ toFake: ["setInterval", "clearInterval"] });
    const world = await makeWorld();
    const deployment = await world.control.getDeployment(world.projectId, world.deploymentId, { shown: "all", limit: 9 });
    const fed = { signal: undefined as AbortSignal | undefined, isOver: false };
    world.control.followDeployment = async function* (_projectId, _id, signal): AsyncGenerator<DeploymentEvent> {
      fed.signal = signal;
      try {
        yield { type: "progress", deployment };
        await new Promise((silence) => signal.addEventListener("abort", silence));
      } finally {
        fed.isOver = true;
      }
    };
    const reader = (await follow(world, world.key)).body!.getReader();
    const read = async () => new TextDecoder().decode((await reader.read()).value);
    expect(await read()).toMatch(/^event: progress\n/);
    for (let i = 0; i < 2; i++) {
      vi.advanceTimersByTime(15_000);
      expect(await read()).toBe(":\n\n");
    }
    expect([fed.signal!.aborted, fed.isOver, vi.getTimerCount()]).toEqual([false, false, 1]);
    await reader.cancel();
    expect([fed.signal!.aborted, fed.isOver, vi.getTimerCount()]).toEqual([true, true, 0]);
  });

  it("end with an error in their midst, without its words where it is ours", async () => {
    const world = await makeWorld();
    const deployment = await world.control.getDeployment(world.projectId, world.deploymentId, { shown: "all", limit: 9 });
    world.control.followDeployment = async function* (): AsyncGenerator<DeploymentEvent> {
      yield { type: "progress", deployment };
      throw new Error("SECRET detail");
    };
    const text = await (await follow(world, world.key)).text();
    expect(text).toMatch(/^event: progress\n.*\n\nevent: error\ndata: \{"success":false,"code":"internal_error",[^\n]*\}\n\n$/);
    expect(text).not.toContain("SECRET");
    expect(world.logged).toContainEqual({
      event: "api failed while streaming",
      fields: expect.objectContaining({ error: expect.stringContaining("SECRET") }),
    });
  });
});
