/** Accounts, projects and credentials: who may come in, with what, until when; and that no secret is kept. */
import { describe, expect, test } from "vitest";
import { ManualClock } from "../../../core/clock.ts";
import { makeScramKeys, toHex } from "../../../core/secrets.ts";
import { makeProject, makeTenant, makeWorkspace, refusalOf, useWorld } from "./world.ts";

const world = useWorld();
const page = { limit: 100 };
const account = { email: "Ada@Example.com ", password: "correct horse", projectName: "shop" };

describe("accounts", () => {
  test("sign up once per e-mail, log in with it in any case, and carry a session for a day", async () => {
    const clock = new ManualClock();
    const plane = await world().start({ clock });
    const { project } = await plane.signup(account);
    expect(project.id).toMatch(/^tdb_[0-9a-f]{8}$/);
    expect(await refusalOf(plane.signup({ ...account, email: "ada@example.com" }))).toMatchObject({ kind: "conflict" });
    const session = await plane.login({ email: "ADA@example.com", password: account.password });
    expect(session.projects.map((p) => p.id)).toEqual([project.id]);
    expect(session.expiresAt - clock.wallMs()).toBe(24 * 3_600_000);
    expect((await plane.authenticateSession(session.token))?.email).toBe("ada@example.com");
    expect(await plane.authenticateSession(`${session.token}0`)).toBeUndefined();
    const others = [await plane.login(account), await plane.login(account)];
    expect(await plane.logout(others[0]?.token ?? "", false)).toBe(1);
    expect(await plane.authenticateSession(others[0]?.token ?? "")).toBeUndefined();
    expect((await plane.authenticateSession(others[1]?.token ?? ""))?.email).toBe("ada@example.com");
    expect(await plane.logout("tenantsdb_session_unknown", true)).toBe(0);
    clock.jumpWall(24 * 3_600_000);
    expect(await plane.authenticateSession(session.token)).toBeUndefined();
  });

  test("hear the same for an unknown e-mail and a wrong password, after the same work", async () => {
    const plane = await world().start();
    await plane.signup(account);
    const derivations: number[] = [];
    const { crypto } = world().server.secrets;
    const original = crypto.pbkdf2Sha256;
    crypto.pbkdf2Sha256 = (password, salt, iterations) => {
      derivations.push(iterations);
      return original(password, salt, iterations);
    };
    try {
      const wrong = await refusalOf(plane.login({ email: account.email, password: "wrong" }));
      const unknown = await refusalOf(plane.login({ email: "nobody@example.com", password: "wrong" }));
      expect(wrong).toEqual({ kind: "unauthorized", message: "Wrong e-mail or password" });
      expect(unknown).toEqual(wrong);
      expect(derivations).toEqual([1_000, 1_000]);
    } finally {
      crypto.pbkdf2Sha256 = original;
    }
  });

  test("refuse short passwords and what is no address", async () => {
    const plane = await world().start();
    expect(await refusalOf(plane.signup({ ...account, password: "1234567" }))).toMatchObject({
      kind: "bad_request",
      message: expect.stringContaining("8"),
    });
    expect(await refusalOf(plane.signup({ ...account, email: "nonsense" }))).toMatchObject({ kind: "bad_request" });
    expect(await refusalOf(plane.signup({ ...account, projectName: " " }))).toMatchObject({ kind: "bad_request" });
  });
});

function makeSignal(): { readonly given: Promise<void>; give(): void } {
  let give = (): void => undefined;
  const given = new Promise<void>((resolve) => {
    give = resolve;
  });
  return { given, give };
}

describe("projects", () => {
  test("are born with one admin key, renamed, and deleted with everything below", async () => {
    const plane = await world().start({ config: { spareDatabases: 1 } });
    const { project, apiKey } = await makeProject(plane);
    expect((await plane.authenticateKey(apiKey))?.scope).toEqual({ type: "project" });
    expect((await plane.renameProject(project.id, "  store ")).name).toBe("store");
    await makeWorkspace(world(), plane, project.id, "myapp", 1);
    await makeTenant(plane, project.id, "acme", "myapp");
    await plane.settled();
    expect(world().admin.databases.size).toBe(4);
    await plane.deleteProject(project.id);
    expect(world().admin.databases.size).toBe(0);
    expect(await refusalOf(plane.getProject(project.id))).toMatchObject({ kind: "not_found" });
    expect(await plane.authenticateKey(apiKey)).toBeUndefined();
    expect(await plane.store.routes.findProjectKeys(project.id)).toBeUndefined();
    for (const table of ["projects", "credentials", "verifiers", "workspaces", "tenants", "databases", "blueprint_versions"]) {
      expect(await world().control.query(`select 1 from tenantry.${table}`), table).toEqual([]);
    }
  });

  test("are deleted while spares are being made", async () => {
    const plane = await world().start({ config: { spareDatabases: 2 } });
    const { project } = await makeProject(plane);
    await makeWorkspace(world(), plane, project.id, "myapp", 1);
    const { admin } = world();
    const [deleting, begun] = [makeSignal(), makeSignal()];
    // The tenant's own database, then the first spare's, whose maker goes on to the second once the deletion is under way.
    admin.trapNext("createTenantDatabase", async () => {
      admin.trapNext("createTenantDatabase", async () => {
        begun.give();
        await deleting.given;
      });
    });
    await makeTenant(plane, project.id, "acme", "myapp");
    await begun.given;
    admin.trapNext("dropDatabase", async () => {
      deleting.give();
      await plane.settled();
    });
    await plane.deleteProject(project.id);
    expect(admin.databases.size).toBe(0);
    expect(await world().control.query("select 1 from tenantry.projects")).toEqual([]);
  });

  test("whose deletion fails half way open nothing any more and are finished by the sweep", async () => {
    const plane = await world().start();
    const { project, apiKey } = await makeProject(plane);
    await makeWorkspace(world(), plane, project.id, "myapp", 1);
    world().admin.trapNext("dropDatabase", () => {
      throw new Error("the cable was pulled");
    });
    await expect(plane.deleteProject(project.id)).rejects.toThrow("the cable was pulled");
    expect(await plane.authenticateKey(apiKey)).toBeUndefined();
    await plane.sweep();
    expect(world().admin.databases.size).toBe(0);
    expect(await world().control.query("select 1 from tenantry.projects")).toEqual([]);
  });
});

describe("credentials", () => {
  const readOnly = { name: "report", role: "read" as const, scope: { type: "project" as const }, expiresAt: undefined };

  test("verify by SCRAM and by key hash; only the key opens the API", async () => {
    const plane = await world().start();
    const { project } = await makeProject(plane);
    const made = await plane.createCredential(project.id, readOnly);
    expect(made.credential.prefix).toBe(made.apiKey.slice(0, 17));
    expect((await plane.authenticateKey(made.apiKey))?.id).toBe(made.credential.id);
    expect(await plane.authenticateKey(made.proxyPassword)).toBeUndefined();
    const route = await plane.store.routes.findRoute(project.id, "nothing");
    const found = route.candidates.find((c) => c.id === made.credential.id)!;
    for (const [use, secret] of [
      ["key", made.apiKey],
      ["password", made.proxyPassword],
    ] as const) {
      const keys = await makeScramKeys(world().server.secrets.crypto, secret, project.scramSalt, project.scramIterations);
      const verifier = found.verifiers.find((v) => v.use === use)!;
      expect(toHex(verifier.storedKey)).toBe(toHex(keys.storedKey));
      expect(toHex(verifier.serverKey)).toBe(toHex(keys.serverKey));
    }
  });

  test("name only what exists", async () => {
    const plane = await world().start();
    const [mine, theirs] = [await makeProject(plane), await makeProject(plane)];
    await makeWorkspace(world(), plane, theirs.project.id, "myapp", 1);
    const attempt = (scope: { type: "workspace" | "tenant"; values: string[] }) => plane.createCredential(mine.project.id, { ...readOnly, scope });
    await expect(attempt({ type: "workspace", values: ["myapp"] })).rejects.toMatchObject({
      kind: "bad_request",
      details: { issues: [{ path: "scope_values.0", message: 'no workspace "myapp" in this project' }] },
    });
    expect(await refusalOf(attempt({ type: "tenant", values: [] }))).toMatchObject({ kind: "bad_request" });
    expect(await refusalOf(plane.createCredential(mine.project.id, { ...readOnly, expiresAt: 1 }))).toMatchObject({ kind: "bad_request" });
  });

  test.each(["project", "workspace", "tenant"] as const)("of scope %s are no more than a login tries; revoking one makes room", async (type) => {
    const clock = new ManualClock();
    const plane = await world().start({ clock });
    const { project, credential } = await makeProject(plane);
    for (const name of ["full", "roomy"]) {
      await makeWorkspace(world(), plane, project.id, name, 1);
      if (type === "tenant") await makeTenant(plane, project.id, name, "full");
    }
    // The project has one of its own already, and so has each tenant.
    const missing = type === "workspace" ? 200 : 199;
    const insert = async (id: string, count: number, expiresAt: Date | null) =>
      await world().control.query(
        `with made as (
           insert into tenantry.credentials (id, project_id, name, role, scope_type, scope_values, prefix, created_at, expires_at)
           select $1 || n, $2, 'many', 'read', $3, $4, 'x', now(), $6 from generate_series(1, $5::int) n returning id)
         insert into tenantry.verifiers (lookup_hash, credential_id, use, stored_key, server_key) select id, id, 'key', '\\x00', '\\x00' from made`,
        [id, project.id, type, type === "project" ? [] : ["full"], count, expiresAt],
      );
    await insert("key_gone", 50, new Date(clock.wallMs() - 1000));
    await insert("key_many", missing - 1, null);
    const make = (...values: string[]) =>
      plane.createCredential(project.id, { ...readOnly, scope: type === "project" ? { type } : { type, values } });
    const last = await make("full");
    const refusal = await refusalOf(make("roomy", "full"));
    expect(refusal).toMatchObject({ kind: "conflict", message: expect.stringMatching(/has 200 keys of scope .*Revoke some/) });
    if (type !== "project") {
      expect(refusal).toMatchObject({ message: expect.stringContaining('"full"') });
      await make("roomy");
    }
    const route = await plane.store.routes.findRoute(project.id, type === "tenant" ? "full__full" : "full_workspace");
    expect(route.candidates.map(({ id }) => id)).toContain(last.credential.id);
    await plane.revokeCredential(project.id, last.credential.id);
    const usable = await plane.store.routes.findUsable(project.id, [credential.id, last.credential.id, "key_gone1", "key_none"]);
    expect([...usable]).toEqual([credential.id]);
    await make("full");
  });

  test("end when they expire, on the API and among the candidates", async () => {
    const clock = new ManualClock();
    const plane = await world().start({ clock });
    const { project } = await makeProject(plane);
    const made = await plane.createCredential(project.id, { ...readOnly, expiresAt: clock.wallMs() + 1000 });
    expect(await plane.authenticateKey(made.apiKey)).toBeDefined();
    clock.jumpWall(1000);
    expect(await plane.authenticateKey(made.apiKey)).toBeUndefined();
    const route = await plane.store.routes.findRoute(project.id, "nothing");
    expect(route.candidates.map((c) => c.id)).not.toContain(made.credential.id);
  });

  test("rotated, the old secret goes on for the grace and no longer", async () => {
    const clock = new ManualClock();
    const plane = await world().start({ clock });
    const { project, apiKey, credential } = await makeProject(plane);
    const rotated = await plane.rotateCredential(project.id, credential.id, 60);
    expect(rotated.credential.id).toBe(credential.id);
    expect(rotated.credential.verifiers).toHaveLength(4);
    expect(await plane.authenticateKey(apiKey)).toBeDefined();
    expect(await plane.authenticateKey(rotated.apiKey)).toBeDefined();
    clock.jumpWall(60_000);
    expect(await plane.authenticateKey(apiKey)).toBeUndefined();
    expect(await plane.authenticateKey(rotated.apiKey)).toBeDefined();
    await plane.sweep();
    const again = await plane.rotateCredential(project.id, credential.id, 0);
    expect(again.credential.verifiers).toHaveLength(2);
    expect(await plane.authenticateKey(rotated.apiKey)).toBeUndefined();
  });

  test("revoked, they are gone at once; the last project key stays", async () => {
    const plane = await world().start();
    const { project, credential } = await makeProject(plane);
    expect(await refusalOf(plane.revokeCredential(project.id, credential.id))).toMatchObject({
      kind: "conflict",
      message: expect.stringContaining("last"),
    });
    const second = await plane.createCredential(project.id, { ...readOnly, role: "admin" });
    const heard = new Promise<void>((resolve) => plane.store.routes.onChange((c) => c?.credentialId === credential.id && resolve()));
    await plane.revokeCredential(project.id, credential.id);
    await heard;
    expect((await plane.listCredentials(project.id, page)).items.map((c) => c.id)).toEqual([second.credential.id]);
    expect(await refusalOf(plane.revokeCredential(project.id, credential.id))).toMatchObject({ kind: "not_found" });
    const stranger = await makeProject(plane);
    expect(await refusalOf(plane.rotateCredential(stranger.project.id, second.credential.id, 0))).toMatchObject({ kind: "not_found" });
  });

  test("listed in pages with their prefix", async () => {
    const plane = await world().start();
    const { project, credential } = await makeProject(plane);
    const ids = [credential.id];
    for (let i = 0; i < 4; i++) ids.push((await plane.createCredential(project.id, { ...readOnly, name: `n${i}` })).credential.id);
    const first = await plane.listCredentials(project.id, { limit: 3 });
    const second = await plane.listCredentials(project.id, { limit: 3, cursor: first.nextCursor });
    expect([...first.items, ...second.items].map((c) => c.id).sort()).toEqual([...ids].sort());
    expect(second.nextCursor).toBeUndefined();
  });
});

describe("the store at rest", () => {
  test("holds none of the secrets it gave out, in no table and no form", async () => {
    const plane = await world().start();
    const made = await plane.signup(account);
    const { token } = await plane.login(account);
    await makeWorkspace(world(), plane, made.project.id, "myapp", 2);
    const tenant = await makeTenant(plane, made.project.id, "acme", "myapp");
    const rotated = await plane.rotateCredential(made.project.id, made.credential.id, 60);
    const deployment = await plane.createDeployment(made.project.id, { blueprint: "myapp", tenants: "all", concurrency: 1, lockTimeoutMs: 1000 });
    await plane.waitForDeployment(made.project.id, deployment.id, new AbortController().signal);
    await plane.settled();
    const secrets = [token, account.password, ...[made, tenant.credential!, rotated].flatMap((c) => [c.apiKey, c.proxyPassword])];
    const dump = await world().control.dump();
    expect(dump).toContain(made.project.id);
    for (const secret of secrets) {
      const bare = secret.replace(/^(tenantsdb_sk_|tenantsdb_session_|tdb_)/, "");
      for (const form of [secret, bare, toHex(new TextEncoder().encode(bare)), btoa(bare)]) expect(dump.includes(form), form.slice(0, 4)).toBe(false);
    }
  });

  test("of another master key is refused at the start", async () => {
    await world().start();
    await world().control.query("update tenantry.meta set value = 'other' where key = 'master_key'");
    await expect(world().start()).rejects.toThrow(/made under another one/);
  });
});
