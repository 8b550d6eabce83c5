/** The door before the listeners: whose PROXY headers are believed, deadlines, and that nobody waits there for ever. */
import { describe, expect, it } from "vitest";
import { type BytePipe, pipePair } from "../../core/byte-pipe.ts";
import { ManualClock } from "../../core/clock.ts";
import type { LogFields } from "../../core/log.ts";
import { ProxyDoor } from "../../gateway/proxy-door.ts";
import { settle } from "../engines/postgres/support/wire.ts";

const header = Buffer.from("PROXY TCP4 203.0.113.9 10.0.0.1 50001 5432\r\n");
const options = { from: ["10.0.0.0/8"], timeoutMs: 5000, maxWaiting: 3 };

function make(more = {}) {
  const clock = new ManualClock();
  const lines: [level: string, event: string, reason: unknown][] = [];
  const log = { write: (level: string, event: string, fields?: LogFields) => void lines.push([level, event, fields?.reason]) };
  const door = new ProxyDoor(clock, log, { ...options, ...more });
  const entered: BytePipe[] = [];
  const connect = (address: string) => {
    const [near, far] = pipePair({ address, port: 40_000 });
    let closed = false;
    near.sink = {
      data: () => undefined,
      drain: () => undefined,
      closed: () => {
        closed = true;
      },
    };
    near.resume();
    door.enter(far, (pipe) => entered.push(pipe));
    return { near, far, isClosed: () => closed };
  };
  return { clock, door, lines, entered, connect, addresses: () => entered.map(({ peer }) => peer.address) };
}

describe("proxy door", () => {
  it("lets others in at once, as they came", () => {
    const { entered, connect } = make();
    const { far } = connect("192.0.2.1");
    expect(entered).toEqual([far]);
    expect(far.sink).toBeUndefined();
  });

  it("believes a balancer, and requires its header", async () => {
    const { connect, addresses, lines } = make();
    connect("10.1.1.1").near.write(header);
    const silentAboutIt = connect("10.1.1.1");
    silentAboutIt.near.write(Uint8Array.of(0, 0, 0, 8));
    await settle();
    expect(addresses()).toEqual(["203.0.113.9"]);
    expect(silentAboutIt.isClosed()).toBe(true);
    expect(lines).toEqual([["info", "connection of a load balancer closed", "no PROXY protocol header: it does not begin with one"]]);
  });

  it("makes no noise about health checks", async () => {
    const { connect, lines } = make();
    connect("10.1.1.1").near.end();
    await settle();
    expect(lines).toEqual([["debug", "connection of a load balancer closed", "the peer closed the connection"]]);
  });

  it("closes who says nothing in time, and the oldest when there are too many", async () => {
    const { connect, clock, door } = make();
    const first = [1, 2, 3, 4].map(() => connect("10.1.1.1"));
    await settle();
    expect(first.map((each) => each.isClosed())).toEqual([true, false, false, false]);
    clock.advance(4000);
    const late = connect("10.1.1.1");
    await settle();
    expect(door.waiting).toBe(3);
    clock.advance(1000);
    await settle();
    expect(first.every((each) => each.isClosed())).toBe(true);
    expect(late.isClosed()).toBe(false);
    door.stop();
    await settle();
    expect(late.isClosed()).toBe(true);
    expect(door.waiting).toBe(0);
  });

  it("believes others after a reload, and the same ones after a bad reload", async () => {
    const { connect, door, addresses, entered } = make();
    expect(() => door.reload({ ...options, from: ["nonsense"] })).toThrow(RangeError);
    connect("10.1.1.1").near.write(header);
    await settle();
    expect(addresses()).toEqual(["203.0.113.9"]);
    door.reload({ ...options, from: [] });
    const { far } = connect("10.1.1.1");
    expect(entered.at(-1)).toBe(far);
  });
});
