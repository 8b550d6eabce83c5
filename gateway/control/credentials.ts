/** Credentials: made, listed by their prefix, rotated with a grace period, revoked, and found again by an API key. */
import { type Kysely, sql } from "kysely";
import type { Listing, NewCredential, Page, RotatedCredential } from "../../core/control-plane.ts";
import { type ErrorIssue, GatewayError } from "../../core/errors.ts";
import type { Credential, Verifier } from "../../core/model.ts";
import type { Scope } from "../../core/scope.ts";
import { notifyChange } from "../store/changes.ts";
import { maxCandidates } from "../store/route-source.ts";
import { toCredential, toVerifier } from "../store/rows.ts";
import type { Tables } from "../store/schema.ts";
import { type ControlContext, nowDate } from "./context.ts";
import { type CredentialInput, insertCredential, insertVerifiers, prepareCredential, prepareSecrets } from "./credential-secrets.ts";
import { badRequest, checkLabel } from "./inputs.ts";
import { decodeCursor, pageLimit, toListing } from "./paging.ts";
import { getProject, projectNotFound } from "./projects.ts";

export async function authenticateKey(context: ControlContext, apiKey: string): Promise<Credential | undefined> {
  const now = nowDate(context);
  const row = await context.store.db
    .selectFrom("verifiers as v")
    .innerJoin("credentials as c", "c.id", "v.credential_id")
    .innerJoin("projects as p", "p.id", "c.project_id")
    .selectAll("c")
    .where("v.lookup_hash", "=", context.secrets.lookupHash(apiKey))
    .where("v.use", "=", "key")
    .where((eb) => eb.or([eb("v.valid_until", "is", null), eb("v.valid_until", ">", now)]))
    .where((eb) => eb.or([eb("c.expires_at", "is", null), eb("c.expires_at", ">", now)]))
    .where("c.revoked_at", "is", null)
    .where("p.state", "=", "ready")
    .executeTakeFirst();
  if (!row) return undefined;
  context.uses.note(row.id);
  const verifiers = await loadVerifiers(context.store.db, [row.id]);
  return toCredential(row, verifiers.get(row.id) ?? []);
}

/** Revoked ones are gone from the list. */
export async function listCredentials(context: ControlContext, projectId: string, page: Page): Promise<Listing<Credential>> {
  await getProject(context, projectId);
  let query = context.store.db
    .selectFrom("credentials")
    .selectAll()
    .where("project_id", "=", projectId)
    .where("revoked_at", "is", null)
    .orderBy("created_at")
    .orderBy("id")
    .limit(pageLimit(page) + 1);
  if (page.cursor !== undefined) {
    const [createdAt, id] = decodeCursor(page.cursor, ["number", "string"]) as [number, string];
    query = query.where(sql<boolean>`(created_at, id) > (${new Date(createdAt)}, ${id})`);
  }
  const rows = await query.execute();
  const verifiers = await loadVerifiers(
    context.store.db,
    rows.map((row) => row.id),
  );
  return toListing(
    rows,
    page,
    (row) => toCredential(row, verifiers.get(row.id) ?? []),
    (row) => [row.created_at.getTime(), row.id],
  );
}

export async function createCredential(context: ControlContext, projectId: string, input: CredentialInput): Promise<NewCredential> {
  const project = await getProject(context, projectId);
  const name = checkLabel(input.name, "name");
  if (input.expiresAt !== undefined && input.expiresAt <= context.clock.wallMs()) throw badRequest("expires_at is in the past", "expires_at");
  await checkScope(context, projectId, input.scope);
  const scope = input.scope.type === "project" ? input.scope : { type: input.scope.type, values: [...new Set(input.scope.values)] };
  const prepared = await prepareCredential(context, project, { ...input, name, scope });
  return await context.store.transaction(async (trx) => {
    await lockProject(trx, projectId);
    await assertRoom(trx, projectId, scope, nowDate(context));
    const created = await insertCredential(trx, prepared);
    await notifyChange(trx, { projectId, credentialId: created.credential.id });
    return created;
  });
}

/** One more than a login tries would be refused there as a wrong password. @throws {GatewayError} conflict, with the way out. */
async function assertRoom(db: Kysely<Tables>, projectId: string, scope: Scope, now: Date): Promise<void> {
  const live = sql`project_id = ${projectId} and scope_type = ${scope.type} and revoked_at is null and (expires_at is null or expires_at > ${now})`;
  const { rows } = await (scope.type === "project"
    ? sql<{ value: string }>`select '' as value from tenantry.credentials where ${live} having count(*) >= ${maxCandidates}`
    : sql<{ value: string }>`
        select value from tenantry.credentials, unnest(scope_values) value
        where ${live} and scope_values && ${sql.val([...scope.values])}::text[] and value = any(${sql.val([...scope.values])}::text[])
        group by value having count(*) >= ${maxCandidates} order by value limit 1`
  ).execute(db);
  const full = rows[0];
  if (!full) return;
  const whose = scope.type === "project" ? "This project" : `${scope.type === "tenant" ? "Tenant" : "Workspace"} "${full.value}"`;
  throw new GatewayError(
    "conflict",
    `${whose} has ${maxCandidates} keys of scope ${scope.type}, and a login tries no more. Revoke some with DELETE /apikeys/{id}, and let those made for a run expire (expires_at)`,
  );
}

async function checkScope(context: ControlContext, projectId: string, scope: Scope): Promise<void> {
  if (scope.type === "project") return;
  if (scope.values.length === 0) throw badRequest(`scope_values must name at least one ${scope.type}`, "scope_values");
  if (scope.values.length > 100) throw badRequest("scope_values must name at most 100", "scope_values");
  const known = await knownScopeValues(context.store.db, projectId, scope);
  const issues: ErrorIssue[] = [];
  scope.values.forEach((value, i) => {
    if (!known.has(value)) issues.push({ path: `scope_values.${i}`, message: `no ${scope.type} "${value}" in this project` });
  });
  if (issues.length > 0) throw new GatewayError("bad_request", `Invalid scope_values: ${issues.map((i) => i.message).join("; ")}`, { issues });
}

async function knownScopeValues(db: Kysely<Tables>, projectId: string, scope: Exclude<Scope, { type: "project" }>): Promise<Set<string>> {
  const values = [...scope.values];
  if (scope.type === "workspace") {
    const rows = await db
      .selectFrom("workspaces")
      .select("name")
      .where("project_id", "=", projectId)
      .where("state", "<>", "deleting")
      .where("name", "in", values)
      .execute();
    return new Set(rows.map((row) => row.name));
  }
  const rows = await db
    .selectFrom("tenants")
    .select("id")
    .where("project_id", "=", projectId)
    .where("state", "not in", ["deleting", "creating"])
    .where("id", "in", values)
    .execute();
  return new Set(rows.map((row) => row.id));
}

/** A project keeps one unexpired project-scoped admin key: without it nobody could make another. */
export async function revokeCredential(context: ControlContext, projectId: string, credentialId: string): Promise<Credential> {
  const now = nowDate(context);
  return await context.store.transaction(async (trx) => {
    await lockProject(trx, projectId);
    const row = await findLive(trx, projectId, credentialId);
    if (row.scope_type === "project" && row.role === "admin" && !(await hasOtherProjectKey(trx, projectId, credentialId, now))) {
      throw new GatewayError("conflict", "Cannot revoke the project's last project-scoped admin key. Rotate it, or create another one first");
    }
    await trx.updateTable("credentials").set({ revoked_at: now }).where("id", "=", credentialId).execute();
    await trx.deleteFrom("verifiers").where("credential_id", "=", credentialId).execute();
    await notifyChange(trx, { projectId, credentialId });
    return toCredential(row, []);
  });
}

async function hasOtherProjectKey(db: Kysely<Tables>, projectId: string, credentialId: string, now: Date): Promise<boolean> {
  const other = await db
    .selectFrom("credentials")
    .select("id")
    .where("project_id", "=", projectId)
    .where("id", "<>", credentialId)
    .where("scope_type", "=", "project")
    .where("role", "=", "admin")
    .where("revoked_at", "is", null)
    .where((eb) => eb.or([eb("expires_at", "is", null), eb("expires_at", ">", now)]))
    .limit(1)
    .executeTakeFirst();
  return other !== undefined;
}

export async function rotateCredential(context: ControlContext, projectId: string, credentialId: string, graceS: number): Promise<RotatedCredential> {
  if (!Number.isInteger(graceS) || graceS < 0 || graceS > 30 * 86_400) throw badRequest("grace_s must be from 0 to 2592000", "grace_s");
  const project = await getProject(context, projectId);
  const fresh = await prepareSecrets(context, project);
  return await context.store.transaction(async (trx) => {
    const row = await findLive(trx, projectId, credentialId);
    await retireVerifiers(trx, credentialId, new Date(context.clock.wallMs() + graceS * 1000), graceS);
    await insertVerifiers(trx, credentialId, fresh.verifiers);
    await trx.updateTable("credentials").set({ prefix: fresh.prefix }).where("id", "=", credentialId).execute();
    await notifyChange(trx, { projectId, credentialId });
    const verifiers = (await loadVerifiers(trx, [credentialId])).get(credentialId) ?? [];
    const { prefix, apiKey, proxyPassword } = fresh;
    return { credential: toCredential({ ...row, prefix }, verifiers), apiKey, proxyPassword, previousPrefix: row.prefix };
  });
}

/** Old secrets end at `until` at the latest; a second rotation never gives one more time. */
async function retireVerifiers(db: Kysely<Tables>, credentialId: string, until: Date, graceS: number): Promise<void> {
  if (graceS === 0) {
    await db.deleteFrom("verifiers").where("credential_id", "=", credentialId).execute();
    return;
  }
  await db
    .updateTable("verifiers")
    .set({ valid_until: until })
    .where("credential_id", "=", credentialId)
    .where((eb) => eb.or([eb("valid_until", "is", null), eb("valid_until", ">", until)]))
    .execute();
}

async function findLive(db: Kysely<Tables>, projectId: string, credentialId: string) {
  const row = await db
    .selectFrom("credentials")
    .selectAll()
    .where("project_id", "=", projectId)
    .where("id", "=", credentialId)
    .where("revoked_at", "is", null)
    .forUpdate()
    .executeTakeFirst();
  if (!row) throw new GatewayError("not_found", `API key not found: ${credentialId}`);
  return row;
}

/** Serialises what must count a project's keys. */
async function lockProject(db: Kysely<Tables>, projectId: string): Promise<void> {
  const row = await db.selectFrom("projects").select("id").where("id", "=", projectId).where("state", "=", "ready").forUpdate().executeTakeFirst();
  if (!row) throw projectNotFound(projectId);
}

async function loadVerifiers(db: Kysely<Tables>, credentialIds: readonly string[]): Promise<Map<string, Verifier[]>> {
  const byCredential = new Map<string, Verifier[]>();
  if (credentialIds.length === 0) return byCredential;
  const rows = await db
    .selectFrom("verifiers")
    .selectAll()
    .where("credential_id", "in", [...credentialIds])
    .execute();
  for (const row of rows) {
    const known = byCredential.get(row.credential_id);
    if (known) known.push(toVerifier(row));
    else byCredential.set(row.credential_id, [toVerifier(row)]);
  }
  return byCredential;
}

/**
 * Takes a tenant or workspace that is going out of every scope that names it, so that a later one of the same name is not reached by old keys.
 * Keys left without anything to reach are revoked.
 */
export async function withdrawScopeValue(
  db: Kysely<Tables>,
  projectId: string,
  type: "tenant" | "workspace",
  value: string,
  now: Date,
): Promise<void> {
  await sql`
    with touched as (
      update tenantry.credentials set scope_values = array_remove(scope_values, ${value}),
        revoked_at = case when cardinality(array_remove(scope_values, ${value})) = 0 then ${now}::timestamptz else revoked_at end
      where project_id = ${projectId} and scope_type = ${type} and scope_values @> array[${value}]::text[] and revoked_at is null
      returning id, revoked_at
    )
    delete from tenantry.verifiers v using touched where v.credential_id = touched.id and touched.revoked_at is not null`.execute(db);
}
