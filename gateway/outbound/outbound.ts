/** Where the gateway connects because an API caller said so: the name resolved once, checked, and the very address that passed dialled. */
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import type { Config } from "../../core/config.ts";
import { GatewayError } from "../../core/errors.ts";
import { type OutboundRules, refusedKind } from "./addresses.ts";
import type { SourceLimits } from "./source-guard.ts";

/** The rules of a configuration. */
export function outboundRules(config: Pick<Config, "import.allow_private_addresses" | "import.allow_addresses">): OutboundRules {
  return { allowPrivate: config["import.allow_private_addresses"], allow: config["import.allow_addresses"] };
}

/** What is taken from a server that is read, as a configuration has it. */
export function sourceLimits(config: Pick<Config, "import.stall_timeout_s" | "import.max_row_mb">): SourceLimits {
  return {
    stallMs: config["import.stall_timeout_s"] * 1000,
    stallSetting: "import.stall_timeout_s",
    maxRowBytes: config["import.max_row_mb"] * 1024 * 1024,
  };
}

export interface OutboundTarget {
  /** As the caller wrote it: for TLS (server name, certificate check) and for messages. */
  readonly host: string;
  readonly port: number;
  /** What to dial. Dialling `host` would resolve it a second time, perhaps to something else. */
  readonly address: string;
  readonly family: 4 | 6;
}

export type Resolve = (host: string) => Promise<readonly { readonly address: string; readonly family: number }[]>;

const resolveByDns: Resolve = (host) => lookup(host, { all: true, verbatim: true });

/**
 * @throws {GatewayError} bad_request: not a host or port, a name that does not resolve;
 * forbidden: every address of it is one the configuration does not allow.
 */
export async function resolveTarget(host: string, port: number, rules: OutboundRules, resolve: Resolve = resolveByDns): Promise<OutboundTarget> {
  const name = host.replace(/^\[(.*)\]$/, "$1");
  if (isIP(name) === 0 && !/^[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9_.])?$/.test(name)) {
    throw new GatewayError("bad_request", "host must be a host name or an IP address");
  }
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw new GatewayError("bad_request", "port must be from 1 to 65535");
  const found = await addressesOf(name, resolve);
  let refused: string | undefined;
  for (const { address, family } of found) {
    const kind = refusedKind(address, rules);
    if (kind === undefined) return { host: name, port, address, family: family === 6 ? 6 : 4 };
    refused ??= kind;
  }
  const ofImports = refused === "a private address" ? "import.allow_private_addresses or import.allow_addresses" : "import.allow_addresses";
  throw new GatewayError(
    "forbidden",
    `cannot connect to "${name}": it is ${refused}; the server's operator can allow it with ${rules.setting ?? ofImports}`,
  );
}

async function addressesOf(name: string, resolve: Resolve): Promise<readonly { readonly address: string; readonly family: number }[]> {
  const family = isIP(name);
  if (family !== 0) return [{ address: name, family }];
  const found = await resolve(name).catch((cause: unknown) => {
    throw new GatewayError("bad_request", `cannot connect to "${name}": the name does not resolve`, { cause });
  });
  if (found.length === 0) throw new GatewayError("bad_request", `cannot connect to "${name}": the name has no address`);
  return found;
}
