/** Idle clients: memory of the gateway for each of a thousand and of ten thousand, beside what an empty server of the same runtime takes. */
import { chmod, readFile } from "node:fs/promises";
import { createServer, type Server } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Context } from "../context.ts";
import { type Ask, ask, type Section } from "../section.ts";
import { writeCertificate } from "../stage/certificates.ts";
import { type Child, pause, startChild, waitFor } from "../stage/children.ts";
import type { EmptyServerTask } from "../stage/empty-server.ts";
import { addTenant, type RuntimeName, runtimeCommand, startGateway } from "../stage/gateway.ts";
import type { CrowdTask } from "../stage/idle-crowd.ts";
import { residentBytes } from "../stage/usage.ts";

/**
 * Connected before counting begins, and come and gone before that: one-time costs, compiled code and heap that logins need among them, are not
 * counted as every client's.
 */
const warmUpClients = 50;
const passing = 1000;
const kibibyte = 1024;
/** A login takes milliseconds of two processes; on a busy machine many times that. */
const patienceMs = { atAll: 60_000, perClient: 100 } as const;
const wantedKib = { clear: 12, tls: 40 } as const;
const script = (name: string) => fileURLToPath(new URL(`../stage/${name}.ts`, import.meta.url));

interface IdleSample {
  readonly runtime: RuntimeName;
  readonly tls: boolean;
  readonly clients: number;
  /** Above what the process had with the first few. */
  readonly gatewayKib: number;
  readonly floorKib: number;
}

export async function measureIdleMemory(context: Context): Promise<Section> {
  const counts = plan(context);
  const samples: IdleSample[] = [];
  for (const tls of [false, true]) {
    for (const runtime of context.runtimes) samples.push(...(await underRuntime(context, runtime, tls, counts)));
  }
  return {
    name: "idle",
    title: `Idle clients: memory of the gateway, ${context.poolMode} pooling`,
    columns: ["clients", "TLS", "runtime", "KiB per client", "of an empty server's", "empty server KiB per client"],
    rows: samples.map((each) => [
      each.clients.toLocaleString("en-US"),
      each.tls ? "yes" : "no",
      each.runtime,
      each.gatewayKib.toFixed(1),
      (each.gatewayKib / each.floorKib).toFixed(2),
      each.floorKib.toFixed(1),
    ]),
    asks: samples.map(toAsk),
    samples,
  };
}

/** With session pooling each client holds a backend, and no server has ten thousand. */
function plan({ quick, poolMode }: Context): number[] {
  if (quick) return [warmUpClients, 500];
  return poolMode === "transaction" ? [warmUpClients, 1000, 10_000] : [warmUpClients, 1000];
}

function toAsk({ runtime, tls, clients, gatewayKib, floorKib }: IdleSample): Ask {
  const limit = Math.max(tls ? wantedKib.tls : wantedKib.clear, floorKib * 1.2);
  const what = `memory per idle client of ${clients.toLocaleString("en-US")}, ${tls ? "TLS" : "in clear"}, ${runtime}`;
  return ask(what, gatewayKib, "<", limit, (kib) => `${kib.toFixed(1)} KiB`);
}

async function underRuntime(context: Context, runtime: RuntimeName, tls: boolean, counts: readonly number[]): Promise<IdleSample[]> {
  context.say(`idle clients: ${runtime}${tls ? ", TLS" : ""}`);
  const floor = await measureFloor(context, runtime, tls, counts);
  const gateway = await startGateway(`idle_${runtime}${tls ? "_tls" : ""}`, runtime, context.dir, context.server);
  try {
    const tenant = await addTenant(gateway, { pool_mode: context.poolMode });
    const grown = await growWith(gateway.pid, { to: tenant, tls, counts, passing });
    return counts.slice(1).map((clients, i) => ({ runtime, tls, clients, gatewayKib: grown[i]!, floorKib: floor[i]! }));
  } finally {
    await gateway.stop();
  }
}

async function measureFloor(context: Context, runtime: RuntimeName, tls: boolean, counts: readonly number[]): Promise<number[]> {
  const sink = context.poolMode === "session" ? await openSink(join(context.dir, "sink.sock")) : undefined;
  const task: EmptyServerTask = { tls: tls ? await readPair(context) : undefined, backend: sink?.path };
  const [program, ...args] = runtimeCommand(runtime);
  const child = startChild(`empty server under ${runtime}`, program, [...args, script("empty-server"), JSON.stringify(task)]);
  try {
    const port = await waitFor(child, async () => /^(\d+)\n/.exec(child.output())?.[1]);
    return await growWith(child.pid, { to: { port: Number(port) }, tls, counts, passing });
  } finally {
    await child.stop(1000);
    sink?.server.close();
  }
}

async function readPair(context: Context): Promise<{ key: string; cert: string }> {
  const { certFile, keyFile } = await writeCertificate(join(context.dir, "gateway-floor"), undefined);
  return { cert: await readFile(certFile, "utf8"), key: await readFile(keyFile, "utf8") };
}

/** Somewhere to hold connections to. */
async function openSink(path: string): Promise<{ readonly path: string; readonly server: Server }> {
  const server = createServer((socket) => socket.on("error", () => socket.destroy()).resume());
  await new Promise<void>((done) => server.listen(path, done));
  await chmod(path, 0o777);
  server.unref();
  return { path, server };
}

/** KiB per client at each number of clients but the first, above what there was at the first. */
async function growWith(pid: number, task: CrowdTask): Promise<number[]> {
  const crowd = startChild("idle clients", process.execPath, [script("idle-crowd"), JSON.stringify(task)]);
  try {
    const sizes: number[] = [];
    for (const count of task.counts) sizes.push(await sizeAt(crowd, pid, count));
    return sizes.slice(1).map((bytes, i) => (bytes - sizes[0]!) / kibibyte / (task.counts[i + 1]! - task.counts[0]!));
  } finally {
    await crowd.stop(0);
  }
}

async function sizeAt(crowd: Child, pid: number, count: number): Promise<number> {
  const isThere = async () => (crowd.output().split("\n").includes(String(count)) ? true : undefined);
  await waitFor(crowd, isThere, patienceMs.atAll + (count + passing) * patienceMs.perClient);
  await pause(3000); // what was needed for connecting only is given back
  const bytes = await residentBytes(pid);
  process.kill(crowd.pid, "SIGUSR2");
  return bytes;
}
