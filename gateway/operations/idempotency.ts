/** core's Idempotency in the control database, so that it holds on every instance. */
import { type Kysely, sql } from "kysely";
import type { Clock } from "../../core/clock.ts";
import { type Idempotency, type RememberedRequest, rememberedMs, type SealedAnswer } from "../../core/idempotency.ts";
import { toBytes } from "../store/rows.ts";
import type { Tables } from "../store/schema.ts";
import { translateStoreError } from "../store/store-errors.ts";

interface Row {
  readonly request_hash: string;
  readonly status: number | null;
  readonly sealed: Uint8Array | null;
}

/** Most rows forgotten along with one request. */
const forgetAtOnce = 1000;

export function createIdempotency(db: Kysely<Tables>, clock: Clock): Idempotency {
  const asking = async <T>(ask: () => Promise<T>): Promise<T> => {
    try {
      return await ask();
    } catch (error) {
      throw translateStoreError(error, "backend_unreachable");
    }
  };
  return {
    begin: (owner, keyHash, requestHash) => asking(() => begin(db, clock, owner, keyHash, requestHash)),
    finish: (owner, keyHash, answer) => asking(() => finish(db, owner, keyHash, answer)),
    abandon: (owner, keyHash) =>
      asking(async () => {
        await sql`delete from tenantry.idempotency where owner = ${owner} and key_hash = ${keyHash} and status is null`.execute(db);
      }),
  };
}

/** The primary key decides between requests that come at the same time. */
async function begin(db: Kysely<Tables>, clock: Clock, owner: string, keyHash: string, requestHash: string): Promise<RememberedRequest | undefined> {
  const now = new Date(clock.wallMs());
  await sql`
    delete from tenantry.idempotency where (owner, key_hash) in (
      select owner, key_hash from tenantry.idempotency where created_at < ${new Date(now.getTime() - rememberedMs)}
      limit ${forgetAtOnce} for update skip locked)`.execute(db);
  const taken = await sql`
    insert into tenantry.idempotency (owner, key_hash, request_hash, created_at) values (${owner}, ${keyHash}, ${requestHash}, ${now})
    on conflict do nothing returning 1`.execute(db);
  if (taken.rows.length > 0) return undefined;
  const found = await sql<Row>`
    select request_hash, status, sealed from tenantry.idempotency where owner = ${owner} and key_hash = ${keyHash}`.execute(db);
  const row = found.rows[0];
  // Abandoned between the two statements: the caller may try again, as while it ran.
  if (!row) return { requestHash, answer: undefined };
  const answer = row.status === null || row.sealed === null ? undefined : { status: row.status, sealed: toBytes(row.sealed) };
  return { requestHash: row.request_hash, answer };
}

async function finish(db: Kysely<Tables>, owner: string, keyHash: string, { status, sealed }: SealedAnswer): Promise<void> {
  await sql`
    update tenantry.idempotency set status = ${status}, sealed = ${Buffer.from(sealed)}
    where owner = ${owner} and key_hash = ${keyHash}`.execute(db);
}
