/** Brings the databases of all workspaces to what this program and its configuration say, in the background after a start or reload. */
import type { ControlContext } from "./context.ts";
import { forEachLimited } from "./limited.ts";
import { findWorkspaceById } from "./workspace-rows.ts";

const atOnce = 2;

export function refreshWorkspaces(context: ControlContext): void {
  context.background.runOnce("workspaces", async () => {
    const rows = await context.store.db
      .selectFrom("workspaces")
      .select("id")
      .where("state", "=", "ready")
      .where("database_name", "is not", null)
      .execute();
    await forEachLimited(rows, atOnce, async ({ id }) => {
      if (context.background.stopped) return;
      const workspace = await findWorkspaceById(context.store.db, id);
      if (workspace?.database) await context.admin.refreshWorkspaceDatabase(workspace.database, workspace.mode);
    });
  });
}
