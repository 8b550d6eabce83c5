/** What operations keep in the store: the record of changes, and when keys were last used. */
import { expect, test } from "vitest";
import { ManualClock } from "../../../core/clock.ts";
import type { AuditEntry } from "../../../core/operations.ts";
import { listChanges, recordChange } from "../../../gateway/operations/audit.ts";
import { CredentialUses } from "../../../gateway/store/credential-uses.ts";
import { until } from "../../e2e/support/until.ts";
import { makeProject, refusalOf, useWorld } from "./world.ts";

const world = useWorld();

function entry(change: Partial<AuditEntry>): AuditEntry {
  const who = { credentialId: "key_1", accountId: undefined, actor: "ci", address: "192.0.2.1", requestId: "req_1" };
  const what = { action: "POST /tenants", target: "wayne", before: undefined, after: { tenant_id: "wayne" }, status: 201 };
  return { projectId: "tdb_00000001", at: 1000, ...who, ...what, ...change };
}

test("the record of changes is read newest first, by page, time and key, within the project", async () => {
  const { store } = await world().start();
  for (const at of [1000, 2000, 3000]) await recordChange(store.db, entry({ at, target: `t${at}` }));
  await recordChange(store.db, entry({ at: 4000, target: "t4000", credentialId: undefined, accountId: "acc_1", after: undefined }));
  await recordChange(store.db, entry({ projectId: "tdb_00000002" }));
  const targets = async (page: object) => (await listChanges(store.db, "tdb_00000001", { limit: 100, ...page })).items.map((item) => item.target);
  expect(await targets({})).toEqual(["t4000", "t3000", "t2000", "t1000"]);
  expect(await targets({ since: 2000, until: 4000 })).toEqual(["t3000", "t2000"]);
  expect(await targets({ credentialId: "key_1", since: 3000 })).toEqual(["t3000"]);
  const first = await listChanges(store.db, "tdb_00000001", { limit: 3 });
  expect(first.items.at(-1)).toEqual(entry({ at: 2000, target: "t2000" }));
  expect(first.items[0]).toEqual(entry({ at: 4000, target: "t4000", credentialId: undefined, accountId: "acc_1", after: undefined }));
  expect(await targets({ cursor: first.nextCursor })).toEqual(["t1000"]);
  expect(await refusalOf(listChanges(store.db, "tdb_00000001", { limit: 3, cursor: "nonsense" }))).toMatchObject({ kind: "bad_request" });
});

test("a key's last use is written in batches, at most once a minute, and when the instance stops", async () => {
  const clock = new ManualClock();
  const plane = await world().start({ clock });
  const { credential, apiKey } = await makeProject(plane);
  const lastUsed = async () => (await plane.listCredentials(credential.projectId, { limit: 1 })).items[0]!.lastUsedAt;
  expect(await lastUsed()).toBeUndefined();

  await plane.authenticateKey(apiKey);
  const first = clock.wallMs();
  clock.advance(5_000);
  await until(async () => (await lastUsed()) === first);

  plane.noteUse(credential.id);
  const second = clock.wallMs();
  clock.advance(50_000);
  expect(await lastUsed()).toBe(first);

  clock.advance(10_000);
  await until(async () => (await lastUsed()) === second);

  plane.noteUse(credential.id);
  const third = clock.wallMs();
  await plane.stop(); // writes what is left
  const rows = await world().control.query<{ last_used_at: Date }>("select last_used_at from tenantry.credentials");
  expect(rows[0]!.last_used_at.getTime()).toBe(third);
});

test("a use that cannot be written is tried again, and told of once", async () => {
  const clock = new ManualClock();
  const plane = await world().start({ clock });
  const { credential } = await makeProject(plane);
  const told: string[] = [];
  const uses = new CredentialUses(plane.store.db, clock, { write: (_level, event) => void told.push(event) });
  uses.note(credential.id);
  const at = clock.wallMs();
  await world().control.query("alter table tenantry.credentials rename to credentials_away");
  await uses.flush(false);
  await uses.flush(false);
  expect(told).toEqual(["uses of credentials not written, to be tried again"]);
  await world().control.query("alter table tenantry.credentials_away rename to credentials");
  clock.advance(1_000);
  await uses.stop();
  expect((await plane.listCredentials(credential.projectId, { limit: 1 })).items[0]!.lastUsedAt).toBe(at);
});
