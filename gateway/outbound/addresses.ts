/** Which addresses the gateway may be sent to by an API caller: what is special is refused unless the configuration allows it. */
import { matchCidrs } from "../../core/limit.ts";

export interface OutboundRules {
  /** 10/8, 172.16/12, 192.168/16, 100.64/10 and fc00::/7. */
  readonly allowPrivate: boolean;
  /** CIDRs that are allowed whatever they are. */
  readonly allow: readonly string[];
  /** The setting that allows more, for refusals; those of imports unless told. */
  readonly setting?: string | undefined;
}

/** In order: the first that holds names the address. */
const special: readonly { readonly name: string; readonly cidrs: readonly string[]; readonly private?: true }[] = [
  { name: "a cloud metadata address", cidrs: ["169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16", "fd00:ec2::254"] },
  { name: "a loopback address", cidrs: ["127.0.0.0/8", "::1"] },
  { name: "a link-local address", cidrs: ["169.254.0.0/16", "fe80::/10"] },
  { name: "a private address", cidrs: ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fec0::/10"], private: true },
  { name: "an unspecified address", cidrs: ["0.0.0.0/8", "::"] },
  { name: "a multicast or reserved address", cidrs: ["224.0.0.0/3", "ff00::/8", "192.0.0.0/24", "198.18.0.0/15", "2001::/23", "5f00::/16"] },
];
const isAddress = matchCidrs(["0.0.0.0/0", "::/0"]);
const kinds = special.map((kind) => ({ ...kind, matches: matchCidrs(kind.cidrs) }));

/** @returns what kind of address it is that may not be dialled, undefined when it may. @throws RangeError for a rule that is no CIDR */
export function refusedKind(address: string, rules: OutboundRules): string | undefined {
  const bare = address.replace(/%.*$/, ""); // an IPv6 zone
  const plain = embeddedIpv4(bare) ?? bare;
  const allowed = matchCidrs(rules.allow);
  if (allowed(plain) || allowed(bare)) return undefined;
  if (!isAddress(plain)) return "not an address";
  const kind = kinds.find(({ matches }) => matches(plain));
  return kind && !(kind.private && rules.allowPrivate) ? kind.name : undefined;
}

/** IPv6 ranges that only carry an IPv4 address: mapped, compatible, translated (NAT64) and 6to4. */
const carriers: readonly { readonly prefix: string; readonly at: number }[] = [
  { prefix: "0:0:0:0:0:ffff:", at: 6 },
  { prefix: "0:0:0:0:ffff:0:", at: 6 },
  { prefix: "64:ff9b:0:0:0:0:", at: 6 },
  { prefix: "2002:", at: 1 },
];

/** What a packet to an IPv6 address would reach in the end, where that is an IPv4 address. */
function embeddedIpv4(address: string): string | undefined {
  if (!address.includes(":")) return undefined;
  // The platform's URL parser writes the short form, digits in lower case, IPv4 tails in hex.
  if (!URL.canParse(`http://[${address}]/`)) return undefined;
  const short = new URL(`http://[${address}]/`).hostname.slice(1, -1);
  const [head = "", tail] = short.split("::");
  const left = head === "" ? [] : head.split(":");
  const right = tail === undefined || tail === "" ? [] : tail.split(":");
  const groups = [...left, ...new Array<string>(8 - left.length - right.length).fill("0"), ...right];
  const full = groups.join(":");
  const carrier = carriers.find(({ prefix }) => full.startsWith(prefix));
  const isCompatible = full.startsWith("0:0:0:0:0:0:") && !["0:0:0:0:0:0:0:0", "0:0:0:0:0:0:0:1"].includes(full);
  const at = carrier?.at ?? (isCompatible ? 6 : undefined);
  if (at === undefined) return undefined;
  const [high = 0, low = 0] = groups.slice(at, at + 2).map((group) => Number.parseInt(group, 16));
  return [high >> 8, high & 255, low >> 8, low & 255].join(".");
}
