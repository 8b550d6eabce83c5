/**
 * Connects, logs in, asks once and leaves, again and again, as a process of its own so that its CPU time is nobody else's.
 * Its argument is a `ConnectorTask` as JSON; it prints a `ConnectorResult` as JSON when its time is over.
 */
import type { Contender } from "./contender.ts";
import { WireClient } from "./wire-client.ts";

export interface ConnectorTask {
  readonly to: Contender;
  readonly tls: "no" | "full" | "resumed";
  /** How many connect at a time. */
  readonly lanes: number;
  readonly seconds: number;
}

export interface ConnectorResult {
  readonly connections: number;
  /** Those whose TLS session was resumed. */
  readonly resumed: number;
  readonly seconds: number;
}

const task = JSON.parse(process.argv[2] ?? "{}") as ConnectorTask;
const counted = { connections: 0, resumed: 0 };

async function runLane(endMs: number): Promise<void> {
  let session: Buffer | undefined;
  const onSession = (offered: Buffer) => {
    session = offered;
  };
  while (performance.now() < endMs) {
    const tls = task.tls === "no" ? undefined : task.tls === "full" ? {} : { session, onSession };
    const client = await WireClient.logIn(task.to, tls);
    await client.query("SELECT 1");
    await client.end();
    counted.connections++;
    if (client.resumed) counted.resumed++;
  }
}

const beganMs = performance.now();
await Promise.all(Array.from({ length: task.lanes }, () => runLane(beganMs + task.seconds * 1000)));
const result: ConnectorResult = { ...counted, seconds: (performance.now() - beganMs) / 1000 };
process.stdout.write(JSON.stringify(result));
