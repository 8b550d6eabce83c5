/** Idle clients: how much memory the gateway takes for each of a thousand, in clear and under TLS. Session mode: each holds a backend. */
import type pg from "pg";
import type { Context } from "../context.ts";
import type { Section } from "../section.ts";
import { pause } from "../stage/children.ts";
import type { Contender } from "../stage/contender.ts";
import { addTenant, connectTo, type RuntimeName, startGateway } from "../stage/gateway.ts";
import { residentBytes } from "../stage/usage.ts";

/** Connected before counting begins, so that the first client's one-time costs are not counted as every client's. */
const warmUpClients = 20;
const connectingAtOnce = 10;
const kibibyte = 1024;

interface IdleSample {
  readonly name: string;
  readonly tls: boolean;
  readonly clients: number;
  readonly beforeBytes: number;
  readonly afterBytes: number;
}

export async function measureIdleMemory(context: Context): Promise<Section> {
  const clients = context.quick ? 200 : 1000;
  const samples: IdleSample[] = [];
  for (const tls of context.quick ? [false] : [false, true]) {
    for (const runtime of context.runtimes) samples.push(await underRuntime(context, runtime, tls, clients));
  }
  return {
    name: "idle",
    title: `Idle clients: memory of the gateway with ${clients.toLocaleString("en-US")}`,
    columns: ["TLS", "runtime", "before MiB", "after MiB", "KiB per client"],
    rows: samples.map((each) => [
      each.tls ? "yes" : "no",
      each.name,
      (each.beforeBytes / kibibyte ** 2).toFixed(0),
      (each.afterBytes / kibibyte ** 2).toFixed(0),
      ((each.afterBytes - each.beforeBytes) / kibibyte / each.clients).toFixed(1),
    ]),
    asks: [],
    samples,
  };
}

async function underRuntime(context: Context, runtime: RuntimeName, tls: boolean, clients: number): Promise<IdleSample> {
  context.say(`idle clients: ${runtime}${tls ? ", TLS" : ""}`);
  const gateway = await startGateway(`idle_${runtime}${tls ? "_tls" : ""}`, runtime, context.dir, context.server);
  try {
    return await holdClients(await addTenant(gateway), gateway.pid, tls, clients);
  } finally {
    await gateway.stop();
  }
}

async function holdClients(tenant: Contender, pid: number, tls: boolean, clients: number): Promise<IdleSample> {
  const open: pg.Client[] = [];
  try {
    await connectMany(tenant, tls, warmUpClients, open);
    await pause(1500);
    const beforeBytes = await residentBytes(pid);
    await connectMany(tenant, tls, clients, open);
    await pause(3000);
    const afterBytes = await residentBytes(pid);
    return { name: tenant.name, tls, clients, beforeBytes, afterBytes };
  } finally {
    await Promise.all(open.map((client) => client.end().catch(() => undefined))); // measured already, whatever becomes of it
  }
}

async function connectMany(tenant: Contender, tls: boolean, count: number, into: pg.Client[]): Promise<void> {
  for (let made = 0; made < count; made += connectingAtOnce) {
    const now = Math.min(connectingAtOnce, count - made);
    into.push(...(await Promise.all(Array.from({ length: now }, () => connectTo(tenant, tls)))));
  }
}
