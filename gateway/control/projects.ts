/** Projects: the top boundary. Each is born with one project-scoped admin credential. */
import type { Kysely } from "kysely";
import type { NewProject } from "../../core/control-plane.ts";
import { GatewayError } from "../../core/errors.ts";
import type { Project } from "../../core/model.ts";
import { notifyChange } from "../store/changes.ts";
import { physicalOf, toProject } from "../store/rows.ts";
import type { Tables } from "../store/schema.ts";
import { isUniqueViolation } from "../store/store-errors.ts";
import type { ControlContext } from "./context.ts";
import { insertCredential, type PreparedCredential, prepareCredential } from "./credential-secrets.ts";
import { checkLabel } from "./inputs.ts";
import { dropDatabases } from "./physical.ts";

/** RFC 7677's least. Secrets are random, so more would only cost time (design section 2). */
const scramIterations = 4096;

export interface PreparedProject {
  readonly project: Project;
  readonly credential: PreparedCredential;
}

/** Makes ids and secrets, slow work that no transaction should wait for. */
export async function prepareProject(context: ControlContext, accountId: string | undefined, name: string): Promise<PreparedProject> {
  const project: Project = {
    id: `tdb_${context.secrets.randomHex(4)}`,
    name,
    accountId,
    scramSalt: context.secrets.crypto.randomBytes(16),
    scramIterations,
    createdAt: context.clock.wallMs(),
  };
  const credential = await prepareCredential(context, project, {
    name: "project key",
    role: "admin",
    scope: { type: "project" },
    expiresAt: undefined,
  });
  return { project, credential };
}

/** @throws a unique violation when the id is taken; see `withFreshId`. */
export async function insertProject(db: Kysely<Tables>, prepared: PreparedProject): Promise<NewProject> {
  const { project } = prepared;
  await db
    .insertInto("projects")
    .values({
      id: project.id,
      name: project.name,
      account_id: project.accountId ?? null,
      scram_salt: project.scramSalt,
      scram_iterations: project.scramIterations,
      created_at: new Date(project.createdAt),
    })
    .execute();
  const created = await insertCredential(db, prepared.credential);
  await notifyChange(db, { projectId: project.id });
  return { project, ...created };
}

export async function createProject(context: ControlContext, accountId: string | undefined, name: string): Promise<NewProject> {
  const label = checkLabel(name, "name");
  return await withFreshId(async () => {
    const prepared = await prepareProject(context, accountId, label);
    return await context.store.transaction((trx) => insertProject(trx, prepared));
  });
}

/** 32 random bits meet again some day: then the next try has another id. */
export async function withFreshId<T>(create: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await create();
    } catch (error) {
      if (attempt === 5 || !isUniqueViolation(error, "projects_pkey")) throw error;
    }
  }
}

export async function getProject(context: ControlContext, projectId: string): Promise<Project> {
  const row = await context.store.db.selectFrom("projects").selectAll().where("id", "=", projectId).where("state", "=", "ready").executeTakeFirst();
  if (!row) throw projectNotFound(projectId);
  return toProject(row);
}

export async function renameProject(context: ControlContext, projectId: string, name: string): Promise<Project> {
  const row = await context.store.db
    .updateTable("projects")
    .set({ name: checkLabel(name, "name") })
    .where("id", "=", projectId)
    .where("state", "=", "ready")
    .returningAll()
    .executeTakeFirst();
  if (!row) throw projectNotFound(projectId);
  return toProject(row);
}

/** From the first step on nothing of the project opens any more; what a failure leaves, the sweep removes. */
export async function deleteProject(context: ControlContext, projectId: string): Promise<void> {
  await context.store.transaction(async (trx) => {
    const row = await trx.updateTable("projects").set({ state: "deleting" }).where("id", "=", projectId).returning("id").executeTakeFirst();
    if (!row) throw projectNotFound(projectId);
    // A spare or template is recorded under its workspace's row lock while that is ready: from here on none can follow.
    await trx.updateTable("workspaces").set({ state: "deleting" }).where("project_id", "=", projectId).execute();
    await trx.updateTable("databases").set({ state: "deleting", claimed_by: null }).where("project_id", "=", projectId).execute();
    await notifyChange(trx, { projectId });
  });
  await persist(context, projectId);
}

/** What others still write about the project, or drop of it, may get in between: then it is gone through once more. The sweep does the same. */
async function persist(context: ControlContext, projectId: string): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await finishDeletingProject(context, projectId);
    } catch (error) {
      const { code } = error as { code?: unknown };
      if (attempt === deleteAttempts || !inBetween.includes(String(code))) throw error;
      context.log.write("warn", "deleting a project is tried again", { project: projectId, reason: String(error) });
      await context.clock.sleep(100 * attempt);
    }
  }
}

const deleteAttempts = 6;
/** Deadlock, serialization, a row that refers to it, and PostgreSQL's words for two changes of one role or database at the same moment. */
const inBetween: readonly string[] = ["40P01", "40001", "23503", "XX000", "55006"];

/** Drops the databases, then the rows. May be repeated. */
export async function finishDeletingProject(context: ControlContext, projectId: string): Promise<void> {
  const databases = await context.store.db.selectFrom("databases").selectAll().where("project_id", "=", projectId).execute();
  await dropDatabases(context, databases.map(physicalOf));
  await context.store.transaction(async (trx) => {
    await trx.deleteFrom("tenants").where("project_id", "=", projectId).execute();
    await trx.deleteFrom("projects").where("id", "=", projectId).execute();
    await notifyChange(trx, { projectId });
  });
}

export function projectNotFound(projectId: string): GatewayError {
  return new GatewayError("not_found", `Project not found: ${projectId}`);
}
