/** Which of a gateway's workers a client has come to: the kernel knows whose socket the other end of a connection is. */
import { readdir, readFile, readlink } from "node:fs/promises";
import type { Socket } from "node:net";
import type { GatewayProcess } from "./gateway.ts";
import { until } from "./until.ts";

/** Process ids of the workers that run, by their place. */
export function workerPids(gateway: GatewayProcess): number[] {
  const pids: number[] = [];
  for (const [, worker, pid] of gateway.errors().matchAll(/"worker":(\d+),"pid":(\d+),"event":"worker started"/g))
    pids[Number(worker) - 1] = Number(pid);
  return pids;
}

/** The place of the worker at the other end, from 0; a new connection may not have been accepted yet. @throws Error when no worker takes it. */
export async function workerOf(gateway: GatewayProcess, socket: Socket): Promise<number> {
  let place: number | undefined;
  await until(async () => {
    place = await findWorker(gateway, socket);
    return place !== undefined;
  });
  return place!;
}

async function findWorker(gateway: GatewayProcess, socket: Socket): Promise<number | undefined> {
  const inode = await inodeOf(socket.remotePort as number, socket.localPort as number);
  for (const [place, pid] of workerPids(gateway).entries()) {
    const descriptors = await readdir(`/proc/${pid}/fd`).catch(() => []); // one that has ended
    for (const descriptor of descriptors) {
      if ((await readlink(`/proc/${pid}/fd/${descriptor}`).catch(() => "")) === `socket:[${inode}]`) return place;
    }
  }
  return undefined;
}

/** Of the socket on this machine with these two ports. Undefined while it is not accepted: it has none then, and one of the same ports that lingers never has. */
async function inodeOf(local: number, remote: number): Promise<string | undefined> {
  const ends = new RegExp(`^\\s*\\d+: \\w+:${hex(local)} \\w+:${hex(remote)}(?: +\\S+){6} +(\\d+)`, "gm");
  for (const table of ["/proc/net/tcp", "/proc/net/tcp6"]) {
    const inodes = [...(await readFile(table, "utf8")).matchAll(ends)].map(([, inode]) => inode);
    if (inodes.length > 0) return inodes.find((inode) => inode !== "0");
  }
  throw new Error(`no connection between ports ${local} and ${remote}`);
}

function hex(port: number): string {
  return port.toString(16).toUpperCase().padStart(4, "0");
}
