/** New credentials and their secrets: the slow part (PBKDF2) first, the rows in the caller's transaction. */
import type { Kysely } from "kysely";
import type { NewCredential } from "../../core/control-plane.ts";
import type { Credential, Project, Verifier } from "../../core/model.ts";
import type { Role } from "../../core/role.ts";
import type { Scope } from "../../core/scope.ts";
import type { Tables } from "../store/schema.ts";
import type { ControlContext } from "./context.ts";

/** `tenantsdb_sk_` and four digits more. */
const prefixLength = 17;

export type PreparedCredential = NewCredential;

export interface CredentialInput {
  readonly name: string;
  readonly role: Role;
  readonly scope: Scope;
  readonly expiresAt: number | undefined;
}

export interface PreparedSecrets {
  readonly apiKey: string;
  readonly proxyPassword: string;
  readonly prefix: string;
  readonly verifiers: readonly Verifier[];
}

export async function prepareSecrets(context: ControlContext, project: Pick<Project, "scramSalt" | "scramIterations">): Promise<PreparedSecrets> {
  const apiKey = context.secrets.makeApiKey();
  const proxyPassword = context.secrets.makeProxyPassword();
  const verifiers = await Promise.all([
    context.secrets.makeVerifier("key", apiKey, project),
    context.secrets.makeVerifier("password", proxyPassword, project),
  ]);
  return { apiKey, proxyPassword, prefix: apiKey.slice(0, prefixLength), verifiers };
}

export async function prepareCredential(context: ControlContext, project: Project, input: CredentialInput): Promise<PreparedCredential> {
  const { apiKey, proxyPassword, prefix, verifiers } = await prepareSecrets(context, project);
  const credential: Credential = {
    id: `key_${context.secrets.randomHex(8)}`,
    projectId: project.id,
    name: input.name,
    role: input.role,
    scope: input.scope,
    prefix,
    verifiers,
    createdAt: context.clock.wallMs(),
    expiresAt: input.expiresAt,
    revokedAt: undefined,
    lastUsedAt: undefined,
  };
  return { credential, apiKey, proxyPassword };
}

export async function insertCredential(db: Kysely<Tables>, prepared: PreparedCredential): Promise<NewCredential> {
  const { credential } = prepared;
  await db
    .insertInto("credentials")
    .values({
      id: credential.id,
      project_id: credential.projectId,
      name: credential.name,
      role: credential.role,
      scope_type: credential.scope.type,
      scope_values: credential.scope.type === "project" ? [] : [...credential.scope.values],
      prefix: credential.prefix,
      created_at: new Date(credential.createdAt),
      expires_at: credential.expiresAt === undefined ? null : new Date(credential.expiresAt),
    })
    .execute();
  await insertVerifiers(db, credential.id, credential.verifiers);
  return prepared;
}

export async function insertVerifiers(db: Kysely<Tables>, credentialId: string, verifiers: readonly Verifier[]): Promise<void> {
  const rows = verifiers.map((v) => ({
    lookup_hash: v.lookupHash,
    credential_id: credentialId,
    use: v.use,
    stored_key: v.storedKey,
    server_key: v.serverKey,
    valid_until: v.validUntil === undefined ? null : new Date(v.validUntil),
  }));
  await db.insertInto("verifiers").values(rows).execute();
}
