/** The servers that host databases: the first one, and those the configuration adds. */
import type { Config } from "../core/config.ts";
import type { ClusterAddress } from "../engines/postgres/dial.ts";
import { openExisting } from "./server-target.ts";
import type { ClusterTarget } from "./sql-dialer.ts";
import { StartupError } from "./startup-error.ts";

const firstCluster = "main";

/** How the control plane and backends reach one. */
export interface ClusterAccess {
  readonly cluster: ClusterTarget;
  readonly address: ClusterAddress;
}

/** By cluster id. @throws {StartupError} naming the setting. */
export async function openClusters(config: Config, first: ClusterAccess): Promise<Map<string, ClusterAccess>> {
  const clusters = new Map<string, ClusterAccess>([[firstCluster, first]]);
  for (const [name, url] of Object.entries(config.clusters)) {
    if (name === firstCluster) throw new StartupError("clusters", `the name "${firstCluster}" is the first cluster's own`);
    clusters.set(name, await openExisting(url, `clusters.${name}`));
  }
  return clusters;
}

export function mapValues<K, A, B>(map: ReadonlyMap<K, A>, change: (value: A) => B): Map<K, B> {
  return new Map([...map].map(([key, value]) => [key, change(value)]));
}
