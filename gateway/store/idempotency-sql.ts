/** What is remembered of requests with an Idempotency-Key; see gateway/operations/idempotency.ts. */
export const idempotencyTable = `
create table tenantry.idempotency (
  owner text not null,
  key_hash text not null,
  request_hash text not null,
  status integer,
  sealed bytea,
  created_at timestamptz not null,
  primary key (owner, key_hash)
);
create index idempotency_age on tenantry.idempotency (created_at);
`;
