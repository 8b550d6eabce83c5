/** Readiness: the control store and every cluster answer. */
import type { ControlContext } from "./context.ts";

export async function checkReady(context: ControlContext): Promise<{ ready: boolean; checks: Readonly<Record<string, "ok" | string>> }> {
  const checks: Record<string, string> = {};
  const check = async (name: string, ask: () => Promise<boolean>) => {
    try {
      checks[name] = (await ask()) ? "ok" : "does not answer";
    } catch (error) {
      context.log.write("debug", "not ready", { check: name, reason: error instanceof Error ? error.message : String(error) });
      checks[name] = "does not answer";
    }
  };
  const store = check("store", async () => {
    await context.store.ping();
    return true;
  });
  const clusters = context.clusters.list().map((cluster) => check(`cluster ${cluster.name}`, () => context.admin.ping(cluster.id)));
  await Promise.all([store, ...clusters]);
  return { ready: Object.values(checks).every((state) => state === "ok"), checks };
}
