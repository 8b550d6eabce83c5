/** What a pooler (PgBouncer) between gateway and server changes of a login: which start-up settings it takes, and how the others are given. */
import { quoteLiteral } from "../../core/sql.ts";

/** How the pooler lends its connections; as PgBouncer's `pool_mode`. */
export type PoolerMode = "session" | "transaction";

/** Settings that PgBouncer takes in the start-up packet and keeps right on whichever connection it lends. */
const tracked = new Set(["client_encoding", "datestyle", "timezone", "standard_conforming_strings", "application_name"]);

export interface LoginSettings {
  /** For the start-up packet. */
  readonly packet: ReadonlyMap<string, string>;
  /** A statement that sets the rest, after login and after every DISCARD ALL. */
  readonly afterwards: string | undefined;
}

/**
 * A transaction pooler is given everything in the packet: what is set afterwards would be met by whoever gets that connection next. It refuses
 * what it does not know.
 */
export function splitSettings(parameters: ReadonlyMap<string, string>, mode: PoolerMode | undefined): LoginSettings {
  if (mode !== "session") return { packet: parameters, afterwards: undefined };
  const packet = new Map<string, string>();
  const calls: string[] = [];
  for (const [name, value] of parameters) {
    if (tracked.has(name.toLowerCase())) packet.set(name, value);
    else calls.push(`PERFORM pg_catalog.set_config(${quoteLiteral(name)}, ${quoteLiteral(value)}, false);`);
  }
  // DO, because it answers without rows.
  return { packet, afterwards: calls.length === 0 ? undefined : `DO ${quoteLiteral(`BEGIN ${calls.join(" ")} END`)}` };
}
