/** Schema design without a database: what the routes are given, and that they asked. */
import { GatewayError } from "../../../core/errors.ts";
import type { BlueprintVersion } from "../../../core/model.ts";
import type { SchemaDesign } from "../../../core/schema-design.ts";
import type { FakeControl } from "./fake-control.ts";

const version: BlueprintVersion = {
  ...{ workspaceId: "ws_1", version: 2, ddlId: 7, sql: "CREATE TABLE plans (code text PRIMARY KEY)", commandTag: "CREATE TABLE" },
  ...{ searchPath: "public", transactional: true, capturedAt: Date.UTC(2026, 0, 15, 9, 30) },
};

export class FakeDesign implements SchemaDesign {
  readonly #control: FakeControl;
  /** What the last load was given. */
  loaded: unknown;

  constructor(control: FakeControl) {
    this.#control = control;
  }

  async #enter(call: string, projectId: string, workspace: string): Promise<void> {
    await this.#control.getWorkspace(projectId, workspace);
    this.#control.calls.push(call);
  }

  async listPending(projectId: string, workspace: string) {
    await this.#enter("listPending", projectId, workspace);
    return { version: 2, tenants: 2, changes: [{ ...version, tenantsBehind: 1 }] };
  }

  async skipChange(projectId: string, workspace: string, ddlId: number) {
    await this.#enter("skipChange", projectId, workspace);
    if (ddlId !== version.ddlId) throw new GatewayError("not_found", `Change not found: ${ddlId}`);
    return { ...version, skippedAt: version.capturedAt };
  }

  async revertChange(projectId: string, workspace: string, ddlId: number) {
    await this.#enter("revertChange", projectId, workspace);
    if (ddlId !== version.ddlId) throw new GatewayError("not_found", `Change not found: ${ddlId}`);
    return { reverted: version, undoneBy: [{ ...version, version: 3, sql: "DROP TABLE plans" }], skipped: false };
  }

  async readSchema(projectId: string, workspace: string) {
    await this.#enter("readSchema", projectId, workspace);
    return { version: 2, tables: [{ schema: "public", name: "plans", kind: "table" as const, columns: [] }] };
  }

  async loadSchema(projectId: string, workspace: string, source: unknown) {
    await this.#enter("loadSchema", projectId, workspace);
    this.loaded = source;
    return { version: 2, versions: [version], lost: ["view v"] };
  }

  async listReferenceTables() {
    return [{ schema: "public", name: "plans" }];
  }

  async setReferenceTable(projectId: string, workspace: string, table: string) {
    await this.#enter("setReferenceTable", projectId, workspace);
    return { schema: "public", name: table };
  }
}
