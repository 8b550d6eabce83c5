/** Keeps web pages of other sites from changing state through a visitor's browser, DNS rebinding included. */
import { GatewayError } from "../core/errors.ts";
import type { ApiContext, ApiDeps } from "./context.ts";

const safeMethods = new Set(["GET", "HEAD", "OPTIONS"]);

/**
 * Programs send no Origin and pass. Browsers do: theirs must be the API's own.
 * Comparing Origin with Host is not enough, since after rebinding both name the attacker's host; so the host must be a known one or an IP address.
 * @throws {GatewayError} forbidden
 */
export function refuseForeignOrigin(c: ApiContext): void {
  if (safeMethods.has(c.req.method)) return;
  const origin = c.req.header("origin");
  const site = c.req.header("sec-fetch-site");
  if (origin === undefined && (site === undefined || site === "same-origin" || site === "none")) return;
  if (origin !== undefined && isOwnOrigin(origin, c.req.header("host"), c.var.api)) return;
  throw new GatewayError("forbidden", "cross-origin requests are not allowed; call the API from its own origin or from a server");
}

function isOwnOrigin(origin: string, host: string | undefined, deps: ApiDeps): boolean {
  if (deps.allowedOrigins?.includes(origin)) return true;
  if (!URL.canParse(origin)) return false;
  const from = new URL(origin);
  if (from.origin === new URL(deps.info.apiUrl).origin) return true;
  return from.host === host && (from.hostname === "localhost" || isIpAddress(from.hostname));
}

function isIpAddress(hostname: string): boolean {
  return hostname.startsWith("[") || /^\d{1,3}(\.\d{1,3}){3}$/.test(hostname);
}
