/** Routing values as tenant ids: the value itself where it is one, else by one rule, the same every time. */
import { createHash } from "node:crypto";
import { GatewayError } from "../../core/errors.ts";
import { isTenantId } from "../../core/scope.ts";

const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;

/**
 * - `wayne`, `42`: legal ids stay as they are;
 * - a UUID in lower case: its dashes become `_`, which can be turned back;
 * - anything else: its letters and digits in lower case, `_` for the rest, at most 31 characters, then `_` and 8 hex digits
 *   of the value's SHA-256, so that `Acme Inc.` and `acme-inc` stay two tenants.
 */
export function tenantIdOf(value: string): string {
  if (isTenantId(value)) return value;
  if (uuid.test(value)) return value.replaceAll("-", "_");
  const readable = value
    .normalize("NFKD")
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, "_")
    .replaceAll(/^_|_$/g, "")
    .slice(0, 31)
    .replace(/_$/, "");
  const digest = createHash("sha256").update(value).digest("hex").slice(0, 8);
  return readable === "" ? `t_${digest}` : `${readable}_${digest}`;
}

export interface NamedTenant {
  readonly value: string;
  readonly tenantId: string;
  readonly rows: number;
}

/** @throws {GatewayError} bad_request: an id of the caller's is none, or two values come to the same tenant. */
export function nameTenants(
  values: readonly { readonly value: string; readonly rows: number }[],
  chosen: Readonly<Record<string, string>>,
): readonly NamedTenant[] {
  for (const [value, id] of Object.entries(chosen)) {
    if (!isTenantId(id)) throw wrong(value, `"${id}" is not a tenant id: 1 to 40 of a-z, 0-9 and _, without __`);
  }
  const byId = new Map<string, string>();
  return values.map(({ value, rows }) => {
    const tenantId = Object.hasOwn(chosen, value) ? chosen[value]! : tenantIdOf(value);
    const other = byId.get(tenantId);
    if (other !== undefined)
      throw wrong(value, `the routing values "${other}" and "${value}" both come to tenant "${tenantId}"; give one another id`);
    byId.set(tenantId, value);
    return { value, tenantId, rows };
  });
}

function wrong(value: string, message: string): GatewayError {
  return new GatewayError("bad_request", `tenant_ids: ${message}`, { issues: [{ path: `tenant_ids.${value}`, message }] });
}
