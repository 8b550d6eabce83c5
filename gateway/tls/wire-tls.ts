/** One certificate, presented by listeners that negotiate differently: PostgreSQL's names its application protocol, and HTTP's so that a web client can be told that it is wrong; the others have none. */
import type { TlsServerContext } from "../../core/byte-pipe.ts";
import type { ReloadableTlsServer, Runtime, TlsServerOptions } from "../runtime/runtime.ts";
import type { PemPair } from "./issue.ts";

export interface WireTls {
  readonly postgres: TlsServerContext;
  readonly others: TlsServerContext;
  /** All of them, reloaded together. */
  readonly server: ReloadableTlsServer;
}

/** @throws Error when key and certificate do not parse or do not match. */
export function createWireTls(
  runtime: Runtime,
  { certPem, keyPem }: PemPair,
  rules: Pick<TlsServerOptions, "asksCertificate" | "ticketSeed">,
): WireTls {
  const pair = { cert: certPem, key: keyPem };
  const postgres = runtime.createTlsServer({ ...pair, ...rules, alpnProtocols: ["postgresql", "http/1.1"] });
  const others = runtime.createTlsServer({ ...pair, ...rules, alpnProtocols: [] });
  const server: ReloadableTlsServer = {
    kind: "tls-server-context",
    reload(certificate) {
      // A pair that does not fit is refused by the first, before anything has changed.
      for (const each of [postgres, others]) each.reload(certificate);
    },
  };
  return { postgres, others, server };
}
