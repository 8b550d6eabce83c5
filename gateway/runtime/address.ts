/** Addresses as the rest of the gateway compares them: IPv4-mapped IPv6 folded to IPv4, zones stripped. */

import type { PeerAddress } from "../../core/byte-pipe.ts";

const mappedPrefix = "::ffff:";

/** `::ffff:10.0.0.1` → `10.0.0.1`, `::ffff:a00:1` → `10.0.0.1`, `fe80::1%eth0` → `fe80::1`. */
export function foldAddress(address: string): string {
  const zone = address.indexOf("%");
  const bare = (zone < 0 ? address : address.slice(0, zone)).toLowerCase();
  if (!bare.startsWith(mappedPrefix)) return bare;
  const tail = bare.slice(mappedPrefix.length);
  if (tail.includes(".")) return tail;
  const groups = tail.split(":").map((group) => Number.parseInt(group, 16));
  const [high, low] = groups;
  if (groups.length !== 2 || high === undefined || low === undefined || Number.isNaN(high + low)) return bare;
  return `${high >> 8}.${high & 255}.${low >> 8}.${low & 255}`;
}

/** The peer of a socket; all parts are absent on Unix sockets and on sockets already closed. */
export function peerOf(socket: { readonly remoteAddress?: string | undefined; readonly remotePort?: number | undefined }): PeerAddress {
  return { address: foldAddress(socket.remoteAddress ?? ""), port: socket.remotePort ?? 0 };
}
