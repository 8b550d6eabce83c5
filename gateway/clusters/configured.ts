/** The servers the configuration names: the first one, and those under `clusters`. */
import type { Config } from "../../core/config.ts";
import { openExisting, type ServerTarget } from "../server-target.ts";
import { StartupError } from "../startup-error.ts";
import type { ClusterServer } from "./connection.ts";

const firstCluster = "main";

/** What is needed of a server that hosts databases. */
type ServerAccess = Pick<ServerTarget, "cluster" | "address">;

/** @throws {StartupError} naming the setting. */
export async function openConfigured(config: Config, first: ServerAccess): Promise<readonly ClusterServer[]> {
  const configured = (id: string, { cluster, address }: ServerAccess) => ({ id, origin: "configuration" as const, target: cluster, address });
  const servers = [configured(firstCluster, first)];
  for (const [name, url] of Object.entries(config.clusters)) {
    if (name === firstCluster) throw new StartupError("clusters", `the name "${firstCluster}" is the first cluster's own`);
    servers.push(configured(name, await openExisting(url, `clusters.${name}`)));
  }
  return servers;
}
