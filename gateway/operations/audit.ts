/** The record of changes: written beside each change made over the API, read newest first. Rows outlive the project they are about. */
import type { Kysely, Selectable } from "kysely";
import type { Listing } from "../../core/control-plane.ts";
import type { AuditEntry, AuditPage } from "../../core/operations.ts";
import { decodeCursor, pageLimit, toListing } from "../control/paging.ts";
import type { AuditRow, Tables } from "../store/schema.ts";

export async function recordChange(db: Kysely<Tables>, entry: AuditEntry): Promise<void> {
  await db
    .insertInto("audit")
    .values({
      project_id: entry.projectId,
      at: new Date(entry.at),
      credential_id: entry.credentialId ?? null,
      account_id: entry.accountId ?? null,
      actor: entry.actor,
      action: entry.action,
      target: entry.target ?? null,
      before: entry.before === undefined ? null : JSON.stringify(entry.before),
      after: entry.after === undefined ? null : JSON.stringify(entry.after),
      status: entry.status,
      address: entry.address,
      request_id: entry.requestId,
    })
    .execute();
}

export async function listChanges(db: Kysely<Tables>, projectId: string, page: AuditPage): Promise<Listing<AuditEntry>> {
  let query = db
    .selectFrom("audit")
    .selectAll()
    .where("project_id", "=", projectId)
    .orderBy("id", "desc")
    .limit(pageLimit(page) + 1);
  if (page.since !== undefined) query = query.where("at", ">=", new Date(page.since));
  if (page.until !== undefined) query = query.where("at", "<", new Date(page.until));
  if (page.credentialId !== undefined) query = query.where("credential_id", "=", page.credentialId);
  if (page.cursor !== undefined) query = query.where("id", "<", Number(decodeCursor(page.cursor, ["number"])[0]));
  return toListing(await query.execute(), page, toEntry, (row) => [row.id]);
}

function toEntry(row: Selectable<AuditRow>): AuditEntry {
  return {
    projectId: row.project_id,
    at: row.at.getTime(),
    credentialId: row.credential_id ?? undefined,
    accountId: row.account_id ?? undefined,
    actor: row.actor,
    action: row.action,
    target: row.target ?? undefined,
    before: row.before ?? undefined,
    after: row.after ?? undefined,
    status: row.status,
    address: row.address,
    requestId: row.request_id,
  };
}
