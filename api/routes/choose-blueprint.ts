/** Which of a tenant's databases a request means. */
import type { Tenant } from "../../core/model.ts";
import type { Scope } from "../../core/scope.ts";
import { badInput } from "../envelope.ts";
import { assertCoversBlueprint, coversBlueprint, notFound } from "../policy.ts";

/**
 * The blueprint named, or the only PostgreSQL one the caller reaches.
 * @throws {GatewayError} scope_denied, not_found, bad_request when it is not clear which is meant.
 */
export function chooseBlueprint(tenant: Tenant, scope: Scope, named: string | undefined): string {
  if (named !== undefined) {
    assertCoversBlueprint(scope, named);
    if (!tenant.databases.some((database) => database.blueprint === named)) throw notFound(`Blueprint of tenant '${tenant.id}'`, named);
    return named;
  }
  const reachable = tenant.databases.filter((database) => coversBlueprint(scope, database.blueprint));
  const candidates = reachable.filter((database) => database.engine === "PostgreSQL");
  const [only, ...others] = candidates;
  if (only && others.length === 0) return only.blueprint;
  const names = reachable.map((database) => database.blueprint).join(", ");
  throw badInput([{ path: "blueprint", message: `must name one of the tenant's blueprints: ${names}` }]);
}
