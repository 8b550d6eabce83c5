/** What redirecting listeners are told of a secret: whose it is, what it reaches, and that it is gone once it is revoked. */
import { describe, expect, test } from "vitest";
import { systemClock } from "../../../core/clock.ts";
import type { Change } from "../../../core/directory.ts";
import { CredentialLookup } from "../../../gateway/store/credential-lookup.ts";
import { type Instance, makeProject, makeTenant, makeWorkspace, refusalOf, useWorld } from "../control/world.ts";

const world = useWorld();

/** A project with two blueprints and three tenants, a look-up whose changes are announced by hand, and the database it asks. */
async function shop() {
  const plane = await world().start();
  const made = await makeProject(plane);
  const id = made.project.id;
  await makeWorkspace(world(), plane, id, "myapp", 1);
  await makeWorkspace(world(), plane, id, "other", 1);
  await makeTenant(plane, id, "acme", "myapp");
  await makeTenant(plane, id, "wayne", "myapp");
  await makeTenant(plane, id, "globex", "other");
  const listeners: ((change: Change | undefined) => void)[] = [];
  const lookup = new CredentialLookup(plane.store.db, systemClock, (listener) => {
    listeners.push(listener);
    return () => undefined;
  });
  const announce = (change: Change | undefined) => void listeners.forEach((listener) => void listener(change));
  return { plane, id, made, lookup, announce, find: finder(lookup) };
}

function finder(lookup: CredentialLookup) {
  return (secret: string) => lookup.findCredential(world().server.secrets.lookupHash(secret));
}

async function addKey(plane: Instance, id: string, scope: { type: "workspace" | "tenant"; values: string[] }) {
  return await plane.createCredential(id, { name: "key", role: "read", scope, expiresAt: undefined });
}

describe("credentials", () => {
  test("are found by key and by password, and by nothing else", async () => {
    const { made, id, find } = await shop();
    for (const secret of [made.apiKey, made.proxyPassword]) expect(await find(secret)).toMatchObject({ projectId: id, scope: { type: "project" } });
    expect(await find("tdb_0000000000000000")).toBeUndefined();
    expect(await find("")).toBeUndefined();
  });

  test("are known while the store is away, and forgotten when their project changes", async () => {
    const { plane, made, id, find, announce } = await shop();
    const known = await find(made.proxyPassword);
    await plane.store.close();
    expect(await find(made.proxyPassword)).toBe(known);
    announce({ projectId: "tdb_00000000" });
    expect(await find(made.proxyPassword)).toBe(known);
    announce({ projectId: id });
    expect(await refusalOf(find(made.proxyPassword))).toMatchObject({ kind: "store_unavailable" });
  });

  test("are gone once revoked", async () => {
    const { plane, id, find, announce, lookup } = await shop();
    const key = await addKey(plane, id, { type: "workspace", values: ["myapp"] });
    const found = await find(key.proxyPassword);
    expect(found?.id).toBe(key.credential.id);
    await plane.revokeCredential(id, key.credential.id);
    announce(undefined);
    expect(await find(key.proxyPassword)).toBeUndefined();
    expect(await refusalOf(lookup.listDatabases(found!))).toMatchObject({ kind: "revoked" });
  });

  test("are found by the new secret once rotated, by the old one no more", async () => {
    const { plane, id, find } = await shop();
    const key = await addKey(plane, id, { type: "tenant", values: ["acme"] });
    const next = await plane.rotateCredential(id, key.credential.id, 0);
    expect(await find(key.proxyPassword)).toBeUndefined();
    expect(await find(next.proxyPassword)).toMatchObject({ id: key.credential.id });
  });
});

describe("databases in reach", () => {
  test("are the workspaces, of a project credential", async () => {
    const { made, find, lookup } = await shop();
    expect(await lookup.listDatabases((await find(made.proxyPassword))!)).toEqual(["myapp_workspace", "other_workspace"]);
  });

  test("are workspaces and their tenants, of a workspace credential", async () => {
    const { plane, id, lookup } = await shop();
    const { credential } = await addKey(plane, id, { type: "workspace", values: ["myapp"] });
    expect(await lookup.listDatabases(credential)).toEqual(["myapp_workspace", "myapp__acme", "myapp__wayne"]);
  });

  test("are those tenants', of a tenant credential; of suspended ones too, of deleted ones not", async () => {
    const { plane, id, lookup } = await shop();
    const { credential } = await addKey(plane, id, { type: "tenant", values: ["acme", "globex", "wayne"] });
    await plane.suspendTenant(id, "acme");
    await plane.deleteTenant(id, "wayne", false);
    expect(await lookup.listDatabases(credential)).toEqual(["myapp__acme", "other__globex"]);
  });
});
