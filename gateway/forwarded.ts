/** Whose request it is behind reverse proxies: X-Forwarded-For, read from the right for as long as the hops are trusted. */
import { isIP } from "node:net";
import { isLoopback } from "../core/limit.ts";
import { foldAddress } from "./runtime/address.ts";

/** More hops than any chain of proxies has. */
const maxHops = 20;

/**
 * The right-most address that is not a trusted proxy's: what stands further left, anybody may have written.
 * A hop that is no address, or is loopback, is not believed: then the proxy that said so counts as the client.
 */
export function clientAddress(peer: string, forwardedFor: string | null, isTrusted: (address: string) => boolean): string {
  let client = peer;
  const hops = forwardedFor?.split(",") ?? [];
  for (let count = 0; count < maxHops && isTrusted(client); count++) {
    const hop = addressOf(hops.pop());
    if (hop === undefined || isLoopback(hop)) break;
    client = hop;
  }
  return client;
}

/** `203.0.113.9`, `203.0.113.9:4711`, `2001:db8::1`, `[2001:db8::1]:4711`. */
function addressOf(hop: string | undefined): string | undefined {
  const text = hop?.trim() ?? "";
  const bracketed = /^\[([0-9a-f:.]+)\](?::\d{1,5})?$/i.exec(text)?.[1];
  const plain = bracketed ?? text.replace(/^(\d{1,3}(?:\.\d{1,3}){3}):\d{1,5}$/, "$1");
  const folded = foldAddress(plain);
  return isIP(folded) > 0 ? folded : undefined;
}
