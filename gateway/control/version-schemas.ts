/** What a blueprint's version is made of, read once off a database that was brought to exactly that version and nothing else. */
import type { Kysely } from "kysely";
import type { SchemaObject } from "../../core/cluster-admin.ts";
import type { PhysicalDatabase } from "../../core/model.ts";
import { toHex } from "../../core/secrets.ts";
import { physicalOf } from "../store/rows.ts";
import type { Tables } from "../store/schema.ts";
import type { ControlContext } from "./context.ts";
import { insertDatabase, makeDatabaseName } from "./physical.ts";
import { discardCopy } from "./scratch-copies.ts";
import { loadVersions } from "./versions.ts";

export interface VersionSchema {
  readonly fingerprint: string;
  readonly objects: readonly SchemaObject[];
}

interface Which {
  readonly project_id: string;
  readonly workspace_id: string;
  readonly version: number;
}

/** The versions compared last, per control plane: a fleet is at few of them, and each is some ten kilobytes. */
const kept = new WeakMap<ControlContext, Map<string, VersionSchema>>();
const maxKept = 32;

/** @returns undefined where there is no such version any more, or it cannot be made on an empty database. */
export async function versionSchema(context: ControlContext, which: Which, clusterId: string): Promise<VersionSchema | undefined> {
  const cache = kept.get(context) ?? new Map<string, VersionSchema>();
  kept.set(context, cache);
  const key = `${which.workspace_id} ${which.version}`;
  const known = cache.get(key) ?? (await findSchema(context.store.db, which)) ?? (await makeSchema(context, which, clusterId));
  if (known) cache.set(key, known);
  if (cache.size > maxKept) cache.delete(cache.keys().next().value!);
  return known;
}

async function findSchema(db: Kysely<Tables>, { workspace_id, version }: Which): Promise<VersionSchema | undefined> {
  return await db
    .selectFrom("version_schemas")
    .select(["fingerprint", "objects"])
    .where("workspace_id", "=", workspace_id)
    .where("version", "=", version)
    .executeTakeFirst();
}

async function makeSchema(context: ControlContext, which: Which, clusterId: string): Promise<VersionSchema | undefined> {
  const objects = (await readTemplate(context, which)) ?? (await readFresh(context, which, clusterId));
  if (!objects) return undefined;
  const text = JSON.stringify(objects);
  const fingerprint = toHex(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text))));
  await context.store.db
    .insertInto("version_schemas")
    .values({ workspace_id: which.workspace_id, version: which.version, fingerprint, objects: text })
    .onConflict((oc) => oc.columns(["workspace_id", "version"]).doNothing())
    .execute();
  return { fingerprint, objects };
}

/** The template, where it happens to be at that version. */
async function readTemplate(context: ControlContext, which: Which): Promise<readonly SchemaObject[] | undefined> {
  const row = await context.store.db
    .selectFrom("databases")
    .selectAll()
    .where("workspace_id", "=", which.workspace_id)
    .where("kind", "=", "template")
    .where("state", "=", "ready")
    .where("version", "=", which.version)
    .executeTakeFirst();
  if (!row) return undefined;
  const objects = await context.admin.readSchemaObjects(physicalOf(row));
  // It may have been brought on while it was read.
  return (await context.admin.readAppliedVersion(physicalOf(row))) === which.version ? objects : undefined;
}

/** A database made for the purpose. */
async function readFresh(context: ControlContext, which: Which, clusterId: string): Promise<readonly SchemaObject[] | undefined> {
  const versions = await loadVersions(context.store.db, which.workspace_id, which.version);
  if (versions.length === 0) return undefined;
  const name = makeDatabaseName(context);
  return await context.claims.hold(name, async () => {
    const database: PhysicalDatabase = await insertDatabase(context, context.store.db, {
      name,
      projectId: which.project_id,
      workspaceId: which.workspace_id,
      clusterId,
      kind: "copy",
    });
    try {
      await context.admin.createTemplateDatabase(database);
      await context.admin.applyVersions(database, versions, { lockTimeoutMs: 10_000, attempts: 1 });
      return await context.admin.readSchemaObjects(database);
    } finally {
      await discardCopy(context, database);
    }
  });
}
