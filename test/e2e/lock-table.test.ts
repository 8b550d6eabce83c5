/** A read-only credential that takes all the locks there are: it is ended, and neighbours hardly notice. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connect, type Target } from "./support/clients.ts";
import { type Fleet, makeFleet } from "./support/fleet.ts";
import { until } from "./support/until.ts";

describe("the shared lock table", () => {
  let fleet: Fleet;
  let read: Target;
  beforeAll(async () => {
    fleet = await makeFleet("node", ["--backend-budget", "20"]);
    const { password } = await fleet.makeKey({ role: "read", scope_type: "tenant", scope_values: ["wayne"] });
    read = { ...fleet.tenant("wayne"), password };
  });
  afterAll(() => fleet.dispose());

  it("is not kept full by a read-only credential: the neighbour works on, and so does the greedy tenant afterwards", async () => {
    const neighbour = await connect(fleet.gateway, fleet.tenant("globex"));
    const greedy = await connect(fleet.gateway, read);
    let isOver = false;
    greedy.on("end", () => {
      isOver = true;
    });
    const reads: (Error | undefined)[] = [];
    const reader = (async () => {
      for (; !isOver; await new Promise((done) => setTimeout(done, 20)))
        reads.push(
          await neighbour.query("SELECT * FROM accounts").then(
            () => undefined,
            (error: Error) => error,
          ),
        );
    })();
    // The server has no room left long before the watch looks; what the session took it keeps.
    await greedy.query("DO $$BEGIN FOR i IN 1..100000000 LOOP PERFORM pg_try_advisory_lock(i); END LOOP; END$$").catch(() => undefined);
    await until(
      () => isOver,
      () => fleet.gateway.errors(),
    );
    expect(fleet.gateway.errors()).toContain("session ended: its database held too much of the shared lock table");
    await reader;
    expect(reads.length).toBeGreaterThan(3);
    expect(reads.filter((error) => error)).toEqual([]);
    await neighbour.query("BEGIN; SELECT * FROM accounts; COMMIT");
    await (await connect(fleet.gateway, fleet.tenant("acme"))).end();
    const again = await connect(fleet.gateway, read);
    await again.query("SELECT pg_advisory_lock(1)");
    await again.end();
    await neighbour.end();
  });
});
