/** Backpressure: how much memory the gateway takes while a client that stops and dawdles fetches a gigabyte. */
import type { Context } from "../context.ts";
import { type Ask, ask, type Section } from "../section.ts";
import { pause } from "../stage/children.ts";
import type { Contender } from "../stage/contender.ts";
import { addTenant, connectTo, type RuntimeName, startGateway } from "../stage/gateway.ts";
import { type Received, readResult } from "../stage/result-reader.ts";
import { residentBytes, watchResident } from "../stage/usage.ts";

const mebibyte = 2 ** 20;
const wantedMib = 32;

interface Growth {
  readonly runtime: RuntimeName;
  readonly tls: boolean;
  readonly received: Received;
  readonly beforeBytes: number;
  readonly stalledBytes: number;
  readonly peakBytes: number;
  readonly isIntact: boolean;
}

export async function measureSlowReader(context: Context): Promise<Section> {
  const rows = context.quick ? 256 * 1024 : 1024 * 1024;
  const sql = `SELECT g, '${"x".repeat(1000)}' FROM generate_series(1, ${rows}) g`;
  const expected = await readDirect(context, sql);
  const grown: Growth[] = [];
  for (const runtime of context.runtimes) {
    for (const tls of context.quick ? [false] : [false, true]) grown.push(await readSlowly(context, runtime, tls, sql, expected));
  }
  return {
    name: "slow-reader",
    title: `A slow reader of ${(expected.bytes / 2 ** 30).toFixed(2)} GiB: memory of the gateway`,
    columns: ["runtime", "TLS", "before MiB", "growth while stalled MiB", "growth at most MiB", "arrived intact"],
    rows: grown.map((each) => [
      each.runtime,
      each.tls ? "yes" : "no",
      (each.beforeBytes / mebibyte).toFixed(0),
      ((each.stalledBytes - each.beforeBytes) / mebibyte).toFixed(1),
      ((each.peakBytes - each.beforeBytes) / mebibyte).toFixed(1),
      each.isIntact ? "yes" : "NO",
    ]),
    asks: grown.map(toAsk),
    samples: grown,
  };
}

function toAsk(each: Growth): Ask {
  const grownMib = (each.peakBytes - each.beforeBytes) / mebibyte;
  const asked = ask(
    `slow reader, ${each.runtime}${each.tls ? ", TLS" : ""}: growth of resident memory`,
    grownMib,
    "<",
    wantedMib,
    (x) => `${x.toFixed(0)} MiB`,
  );
  return each.isIntact ? asked : { ...asked, got: "data damaged", met: false };
}

/** What must arrive, straight from the server. */
async function readDirect(context: Context, sql: string): Promise<Received> {
  const client = await context.server.connect("postgres");
  try {
    return await readResult(client, sql, { hash: true });
  } finally {
    await client.end();
  }
}

async function readSlowly(context: Context, runtime: RuntimeName, tls: boolean, sql: string, expected: Received): Promise<Growth> {
  context.say(`slow reader: ${runtime}${tls ? ", TLS" : ""}`);
  const gateway = await startGateway(`slow_${runtime}${tls ? "_tls" : ""}`, runtime, context.dir, context.server);
  try {
    const tenant: Contender = await addTenant(gateway);
    const client = await connectTo(tenant, tls);
    await pause(1000);
    const beforeBytes = await residentBytes(gateway.pid);
    const stopWatching = watchResident(gateway.pid);
    let stalledBytes = 0;
    const stall = async (ms: number) => {
      await pause(ms);
      stalledBytes = Math.max(stalledBytes, await residentBytes(gateway.pid));
    };
    const received = await readResult(client, sql, { hash: true, pace: dawdle(expected.bytes, stall, context.quick) });
    const peakBytes = await stopWatching();
    await client.end();
    return { runtime, tls, received, beforeBytes, stalledBytes, peakBytes, isIntact: received.hash === expected.hash };
  } finally {
    await gateway.stop();
  }
}

/** Stops for seconds at 5 % and at 60 %, creeps from 20 % to 30 %, and reads as fast as it can otherwise. */
function dawdle(totalBytes: number, stall: (ms: number) => Promise<void>, quick: boolean): (bytesSoFar: number) => Promise<void> | undefined {
  const stalls = [0.05, 0.6].map((part) => part * totalBytes);
  const stallMs = quick ? 1500 : 4000;
  return (bytes) => {
    if (stalls[0] !== undefined && bytes >= stalls[0]) {
      stalls.shift();
      return stall(stallMs);
    }
    const part = bytes / totalBytes;
    return part > 0.2 && part < 0.3 ? pause(1) : undefined;
  };
}
