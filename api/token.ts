/** The two tokens of the configuration: the operator's, and the one that reads metrics. */
import { GatewayError } from "../core/errors.ts";
import { isLoopback } from "../core/limit.ts";
import { authenticate } from "./authenticate.ts";
import type { ApiContext } from "./context.ts";

/** @throws {GatewayError} auth_required, unauthorized; forbidden for good API keys, which are not the operator's. */
export async function assertOperator(c: ApiContext): Promise<void> {
  const { operator } = c.var.api.tokens?.() ?? {};
  if (operator !== undefined && (await sends(c, operator))) return;
  await authenticate(c);
  const way = operator === undefined ? "set operator_token in the gateway's configuration, and send that" : "send operator_token as the Bearer token";
  throw new GatewayError("forbidden", `this endpoint is for the operator of the server: ${way}`);
}

/** Open on loopback. @throws {GatewayError} forbidden elsewhere while no token is configured; auth_required, unauthorized. */
export async function assertMayReadMetrics(c: ApiContext): Promise<void> {
  const address = c.env?.remoteAddress;
  if (address !== undefined && isLoopback(address)) return;
  if (c.req.header("authorization") === undefined) throw new GatewayError("auth_required", "Authorization header required");
  const { metrics } = c.var.api.tokens?.() ?? {};
  if (metrics !== undefined && (await sends(c, metrics))) return;
  const message = metrics === undefined ? "metrics are open on loopback only until metrics_token is configured" : "the metrics token is not valid";
  throw new GatewayError("unauthorized", message);
}

/** Compares digests, so that the time taken tells nothing of the token. */
async function sends(c: ApiContext, token: string): Promise<boolean> {
  const sent = /^Bearer +([\x21-\x7e]{1,512})$/i.exec(c.req.header("authorization")?.trim() ?? "")?.[1];
  if (sent === undefined) return false;
  const [a, b] = await Promise.all([digest(sent), digest(token)]);
  return a.every((byte, i) => byte === b[i]);
}

async function digest(text: string): Promise<Uint8Array> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
}
