/** Who sends a statement over the API, as the query log keeps it. */
import type { QueryCaller } from "../core/control-plane.ts";
import type { ApiContext } from "./context.ts";

export function callerOf(c: ApiContext): QueryCaller {
  const { principal, requestId } = c.var;
  const credentialId = principal.type === "key" ? principal.credential.id : principal.account.id;
  return { credentialId, address: c.env?.remoteAddress ?? "", requestId };
}
