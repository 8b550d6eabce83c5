/** Who sent a request: the API key or session token in its Authorization header. */
import { GatewayError } from "../core/errors.ts";
import type { ApiContext, Principal } from "./context.ts";

const keyPrefix = "tenantsdb_sk_";

/** @throws {GatewayError} auth_required without the header, unauthorized for anything but a good key or token. */
export async function authenticate(c: ApiContext): Promise<Principal> {
  const secret = bearerSecret(c);
  const principal = secret === undefined ? undefined : await findPrincipal(c, secret);
  if (!principal) throw new GatewayError("unauthorized", "the API key or session token is not valid: unknown, expired or revoked");
  return principal;
}

/** Undefined for a header that holds none. @throws {GatewayError} auth_required without the header. */
export function bearerSecret(c: ApiContext): string | undefined {
  const header = c.req.header("authorization");
  if (header === undefined) throw new GatewayError("auth_required", "Authorization header required");
  return /^Bearer +([\x21-\x7e]{1,512})$/i.exec(header.trim())?.[1];
}

async function findPrincipal(c: ApiContext, secret: string): Promise<Principal | undefined> {
  const { control } = c.var.api;
  if (secret.startsWith(keyPrefix)) {
    const credential = await control.authenticateKey(secret);
    return credential && { type: "key", credential };
  }
  const account = await control.authenticateSession(secret);
  return account && { type: "session", account };
}
