/** Many idle clients, of a gateway or of an empty server, as a process of its own so that it can be put to death with all of them at once. */
import { connect, type Socket } from "node:net";
import { connect as connectTls, createSecureContext } from "node:tls";
import type { Contender } from "./contender.ts";
import { WireClient } from "./wire-client.ts";

export interface CrowdTask {
  /** A gateway to log in to, or the port of an empty server. */
  readonly to: Contender | { readonly port: number };
  readonly tls: boolean;
  /** So many come and go first. */
  readonly passing: number;
  /** It prints a line when each of these numbers is reached, and goes on when it is sent SIGUSR2. */
  readonly counts: readonly number[];
}

const connectingAtOnce = 20;
const secureContext = createSecureContext({ minVersion: "TLSv1.2" });
const task = JSON.parse(process.argv[2] ?? "{}") as CrowdTask;
const held: unknown[] = [];

const open = () => ("user" in task.to ? WireClient.logIn(task.to, task.tls ? {} : undefined) : openBare(task.to.port));

async function join(): Promise<void> {
  held.push(await open());
}

async function pass(): Promise<void> {
  const client = await open();
  if (client instanceof WireClient) await client.end();
  else client.destroy();
}

function openBare(port: number): Promise<Socket> {
  return new Promise((done, fail) => {
    const socket = task.tls
      ? connectTls({ port, host: "127.0.0.1", secureContext, rejectUnauthorized: false })
      : connect({ port, host: "127.0.0.1" });
    socket.once("error", fail);
    socket.once(task.tls ? "secureConnect" : "connect", () => {
      socket.resume();
      socket.write("hello");
      done(socket);
    });
  });
}

const told = () => new Promise<void>((done) => process.once("SIGUSR2", () => done()));

for (let passed = 0; passed < task.passing; passed += connectingAtOnce) await Promise.all(Array.from({ length: connectingAtOnce }, pass));

for (const count of task.counts) {
  while (held.length < count) await Promise.all(Array.from({ length: Math.min(connectingAtOnce, count - held.length) }, join));
  const goOn = told();
  process.stdout.write(`${count}\n`);
  const patience = setInterval(() => undefined, 60_000); // sockets alone may be closed
  await goOn;
  clearInterval(patience);
}
