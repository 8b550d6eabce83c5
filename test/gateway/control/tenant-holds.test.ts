/** Clients kept waiting around a change, on every instance: asked, waited for, let go, and never kept for long. */
import { describe, expect, test } from "vitest";
import { ManualClock, systemClock } from "../../../core/clock.ts";
import type { SessionHold } from "../../../core/live.ts";
import { TenantHolds } from "../../../gateway/control/tenant-holds.ts";
import { eventually } from "../store/control-database.ts";
import { makeGate, useWorld } from "./world.ts";

const world = useWorld();
const subject = { projectId: "tdb_00000001", tenantId: "wayne", workspaceId: "ws_1" };

/** A session that comes to rest when told, and remembers what became of it. */
function makeSession() {
  const rest = makeGate();
  const log: string[] = [];
  const hold: SessionHold = {
    begun: rest.opened.then(() => true),
    async resume(schemaChanged) {
      log.push(`resumed ${schemaChanged}`);
    },
  };
  return { hold, log, rest: rest.open };
}

async function twoInstances() {
  const stores = await Promise.all([world().control.open({}), world().control.open({})]);
  const [a, b] = stores.map((store) => new TenantHolds(store, systemClock, () => world().server.secrets.randomHex(8))) as [TenantHolds, TenantHolds];
  const close = async () => {
    a.stop();
    b.stop();
    await Promise.all(stores.map((store) => store.close()));
  };
  return { a, b, close };
}

describe("holds", () => {
  test("reach sessions of both instances, are at rest when all are, and are released with what became of the schema", async () => {
    const { a, b, close } = await twoInstances();
    const [mine, theirs] = [makeSession(), makeSession()];
    const asked: unknown[] = [];
    a.handler = () => [mine.hold];
    b.handler = (about) => {
      asked.push(about);
      return [theirs.hold];
    };
    const taking = a.take(subject, 10_000);
    await eventually(async () => (asked.length === 1 ? true : undefined));
    mine.rest();
    theirs.rest();
    const hold = await taking;
    expect([hold.atRest, asked]).toEqual([true, [subject]]);
    expect([mine.log, theirs.log]).toEqual([[], []]);
    await hold.release(true);
    await eventually(async () => (theirs.log.length > 0 ? true : undefined));
    expect([mine.log, theirs.log]).toEqual([["resumed true"], ["resumed true"]]);
    await close();
  });

  test("are not at rest while another instance's session is in a transaction", async () => {
    const { a, b, close } = await twoInstances();
    const theirs = makeSession();
    b.handler = () => [theirs.hold];
    const hold = await a.take(subject, 20);
    expect(hold.atRest).toBe(false);
    await hold.release(false);
    await eventually(async () => (theirs.log.length > 0 ? true : undefined));
    expect(theirs.log).toEqual(["resumed false"]);
    await close();
  });

  test("end by themselves where nobody ends them", async () => {
    const store = await world().control.open({});
    const clock = new ManualClock();
    const holds = new TenantHolds(store, clock, () => "1");
    const session = makeSession();
    holds.handler = () => [session.hold];
    session.rest();
    const hold = await holds.take(subject, 100);
    expect(hold.atRest).toBe(true);
    clock.advance(5_000);
    await eventually(async () => (session.log.length > 0 ? true : undefined));
    await hold.release(true);
    expect(session.log).toEqual(["resumed false"]);
    holds.stop();
    await store.close();
  });

  test("take no notice of what is no message", async () => {
    const { a, b, close } = await twoInstances();
    b.handler = () => [];
    await world().control.query("select pg_notify('tenantry_holds', x) from unnest(array['', '{', 'null', '7']) x");
    expect((await a.take(subject, 10_000)).atRest).toBe(true);
    await close();
  });
});
