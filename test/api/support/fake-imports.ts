/** Imports in memory: one of workspace myapp, which goes on by a step each time it is asked about. */
import type { ResultsShown } from "../../../core/control-plane.ts";
import { GatewayError } from "../../../core/errors.ts";
import type { ImportAnalysis, ImportRequest, ImportStatus, Imports, ImportTable } from "../../../core/imports.ts";

const createdAt = Date.UTC(2026, 0, 15, 9, 30);
export const fakeImportId = "imp_0011223344556677";

const orders: ImportTable = {
  table: "orders",
  route: "field",
  follows: [],
  ambiguous: [],
  rows: 12,
  unowned: [{ reason: "null_routing_field", rows: 2, find: 'SELECT * FROM ONLY "public"."orders" t WHERE t."tenant_id" IS NULL' }],
};

export class FakeImports implements Imports {
  readonly requests: { verb: string; projectId: string; workspace: string; request?: ImportRequest; kind?: "data" | "full" }[] = [];
  state: ImportStatus["state"] = "queued";
  readonly #states: ImportStatus["state"][] = ["queued", "running", "done"];
  readonly #projectId: string;

  constructor(projectId: string) {
    this.#projectId = projectId;
  }

  async analyze(projectId: string, workspace: string, request: ImportRequest, kind: "data" | "full"): Promise<ImportAnalysis> {
    this.requests.push({ verb: "analyze", projectId, workspace, request, kind });
    return {
      engine: "PostgreSQL",
      serverVersion: "16.4",
      routingField: request.options.routingField,
      tables: [orders],
      tenants: [{ value: "Wayne", tenantId: "wayne_52e1e7a8", rows: 10, exists: false }],
      tenantCount: 1,
      rows: 12,
      unownedRows: 2,
      warnings: ["foreign tables are not imported"],
      problems: [],
    };
  }

  async startImport(projectId: string, workspace: string, request: ImportRequest, kind: "data" | "full"): Promise<ImportStatus> {
    this.requests.push({ verb: "start", projectId, workspace, request, kind });
    return this.#status(kind);
  }

  async getImport(projectId: string, workspace: string, importId: string | undefined, shown: ResultsShown = "all"): Promise<ImportStatus> {
    this.requests.push({ verb: `get ${shown}`, projectId, workspace });
    if (projectId !== this.#projectId || (importId !== undefined && importId !== fakeImportId)) {
      throw new GatewayError("not_found", `Import not found: ${importId}`);
    }
    this.state = this.#states.shift() ?? this.state;
    return this.#status("data");
  }

  async cancelImport(projectId: string, workspace: string, importId: string): Promise<ImportStatus> {
    this.requests.push({ verb: `cancel ${importId}`, projectId, workspace });
    return this.#status("data");
  }

  async retryImport(projectId: string, workspace: string, importId: string): Promise<ImportStatus> {
    this.requests.push({ verb: `retry ${importId}`, projectId, workspace });
    return this.#status("data");
  }

  #status(kind: "data" | "full"): ImportStatus {
    const isDone = this.state === "done";
    return {
      id: fakeImportId,
      projectId: this.#projectId,
      workspace: "myapp",
      kind,
      state: this.state,
      phase: "data",
      source: "PostgreSQL db.example:5432/shared",
      routingField: "tenant_id",
      tenantsTotal: 1,
      tenantsDone: isDone ? 1 : 0,
      tenantsFailed: 0,
      rowsTotal: 10,
      rowsDone: isDone ? 10 : 0,
      tables: [orders],
      warnings: [],
      error: undefined,
      createdAt,
      startedAt: createdAt,
      finishedAt: isDone ? createdAt + 1000 : undefined,
      tenants: [
        {
          value: "Wayne",
          tenantId: "wayne_52e1e7a8",
          state: isDone ? "done" : "pending",
          created: true,
          credentialId: "key_0000000a",
          rows: isDone ? 10 : 0,
          durationMs: isDone ? 12 : undefined,
          error: undefined,
          sqlstate: undefined,
          snapshotAt: isDone ? createdAt : undefined,
          tables: isDone ? [{ table: "orders", rows: 10, checksum: "0123456789abcdef" }] : [],
        },
      ],
    };
  }
}
