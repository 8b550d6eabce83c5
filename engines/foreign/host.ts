/** What answering a client of another protocol needs of the port it came to; a core Visit is one. */
import type { BytePipe, TlsServerContext } from "../../core/byte-pipe.ts";
import type { GatewayError } from "../../core/errors.ts";
import { type EngineName, engineNames } from "../../core/model.ts";

export interface ForeignHost {
  /** Whose port this is. */
  readonly engine: EngineName;
  /** The listeners that are on. */
  readonly ports: Partial<Record<EngineName, number>>;
  readonly signal: AbortSignal;
  /** A ban or limit, told in place of the right port. */
  readonly refusal: GatewayError | undefined;
  /** Undefined when TLS is switched off. */
  readonly tls: TlsServerContext | undefined;
  /** Server-side TLS on the client's socket. */
  startTls(received: Uint8Array): Promise<BytePipe>;
  /** For the operator's log. */
  note(event: string, reason: string): void;
}

/** What a client that speaks `spoken` is told. */
export function wrongPortText(host: ForeignHost, spoken: EngineName): string {
  if (host.refusal) return host.refusal.message;
  const port = host.ports[spoken];
  if (port === undefined) return `this is the ${host.engine} port; the ${spoken} port of this gateway is off`;
  return `this is the ${host.engine} port; connect to ${spoken} on port ${port}`;
}

/** What a web client is told: every port that is on. */
export function webText(host: ForeignHost): string {
  if (host.refusal) return host.refusal.message;
  const open = engineNames.flatMap((name) => {
    const port = host.ports[name];
    return port === undefined ? [] : [`${name} on port ${port}`];
  });
  return `this is the ${host.engine} port, which does not speak HTTP; connect to ${open.join(", ")}. The management API has a port of its own`;
}
