/** Older versions of Node, and what only they must prove. Node 20 runs the built package, newer ones the sources. */
import { execFile } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { makeApi } from "../e2e/support/api.ts";
import { psql } from "../e2e/support/clients.ts";
import { launchers, makeDataDir, type OlderNode, type RuntimeUnderTest, startGateway } from "../e2e/support/gateway.ts";
import { workerOf } from "../e2e/support/worker-of.ts";
import { installPackage, platform } from "../support/registry-program.ts";

const run = promisify(execFile);

/** The oldest that must run it, and the newest of the other lines that are kept. */
export const nodeVersions = { "node-20": "20.19.0", "node-22": "22.23.3", "node-24": "24.21.0" } as const satisfies Readonly<
  Record<OlderNode, string>
>;

/** From here on gateways of this runtime run under it. @returns why it cannot be had, where it cannot. */
export async function installNode(runtime: OlderNode): Promise<{ readonly missing: string } | undefined> {
  try {
    const folder = await installPackage(`node-${platform}`, nodeVersions[runtime], (made) => run(join(made, "bin/node"), ["--version"]));
    launchers[runtime] = [join(folder, "bin/node"), "bin/tdb.js"];
    return undefined;
  } catch (error) {
    return { missing: `cannot be had here: ${(error as Error).message}` };
  }
}

/** Below 22.12 the first process accepts for its workers: see gateway/runtime/worker-process.ts. The newest Node runs all of suites/workers.ts. */
export function describeHandedOver(runtime: RuntimeUnderTest): void {
  it("workers are handed connections in turn, on any free port", async () => {
    const gateway = await startGateway({ runtime, dataDir: await makeDataDir(), args: ["--workers=2", "--redis-port=0"] });
    try {
      const { project_id: user, proxy_password: password, pg_port: port } = gateway.credentials;
      const api = makeApi(gateway.credentials.api_url, gateway.credentials.api_key);
      for (const [name, database] of Object.entries({ myapp: "PostgreSQL", cache: "Redis" })) await api("POST", "/workspaces", { name, database });
      const { body } = await api("GET", "/workspaces/cache");
      for (const each of [port, body.connection.port as number]) {
        const sockets = [connect(each, "127.0.0.1"), connect(each, "127.0.0.1")];
        await Promise.all(sockets.map((socket) => once(socket, "connect")));
        expect((await Promise.all(sockets.map((socket) => workerOf(gateway, socket)))).sort()).toEqual([0, 1]);
        for (const socket of sockets) socket.destroy();
      }
      for (let i = 0; i < 2; i++) expect((await psql(gateway, { user, password, database: "myapp_workspace" }, "SELECT 1")).stdout).toBe("1\n");
    } finally {
      await gateway.dispose();
    }
  });
}
