/** Several gateways over one control database on a server of their own. */
import { copyFile, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { startTestPostgres, type TestPostgres } from "../../support/postgres.ts";
import { type GatewayProcess, makeDataDir, startGateway } from "./gateway.ts";

export interface Pair {
  readonly server: TestPostgres;
  one: GatewayProcess;
  readonly two: GatewayProcess;
  /** The first one again, after it has ended. */
  startOne(): Promise<GatewayProcess>;
  dispose(): Promise<void>;
}

/** `args` go to both. */
export async function startPair(args: readonly string[] = []): Promise<Pair> {
  const server = await startTestPostgres();
  const { port, user, password, socketDir } = server.target as { port: number; user: string; password: string; socketDir: string };
  const all = ["--database-url", `postgresql://${user}:${password}@localhost:${port}/postgres?host=${encodeURIComponent(socketDir)}`, ...args];
  const one = await startGateway({ runtime: "node", args: all });
  const dataDir = await makeDataDir();
  await mkdir(dataDir, { recursive: true });
  for (const file of ["master.key", "credentials.json"]) await copyFile(join(one.dataDir, file), join(dataDir, file));
  const two = await startGateway({ runtime: "node", args: all, dataDir });
  const pair: Pair = {
    server,
    one,
    two,
    startOne: () => startGateway({ runtime: "node", args: all, dataDir: one.dataDir }),
    async dispose() {
      await two.dispose();
      await pair.one.dispose();
      await server.stop();
    },
  };
  return pair;
}

/** With the ports this one listens on; `credentials.json` is the first start's. */
export function at(gateway: GatewayProcess): GatewayProcess {
  const port = Number(/PostgreSQL +127\.0\.0\.1:(\d+)/.exec(gateway.output())![1]);
  const api_url = /API +(http:\S+)/.exec(gateway.output())![1]!;
  return { ...gateway, credentials: { ...gateway.credentials, pg_port: port, api_url } };
}
