/** Routes of backups: what they take, what they answer, what they refuse. Authorization of each is in authorization.test.ts. */
import { describe, expect, it } from "vitest";
import { FakeBackups } from "./support/fake-backups.ts";
import { makeWorld } from "./support/world.ts";

async function make() {
  const world = await makeWorld();
  const backups = new FakeBackups(world.control);
  const again = await makeWorld({ backups, control: world.control });
  return { ...again, key: world.key, keys: world.keys, backups };
}

describe("backups", () => {
  it("are started with or without a body, and waited for on request", async () => {
    const { send, key } = await make();
    for (const body of [undefined, {}, { wait: false }]) {
      const answer = await send("POST", "/tenants/wayne/backup", { key, ...(body && { body }) });
      expect(answer.body).toMatchObject({ http_status: 202, code: "accepted", status: "queued", tenant_id: "wayne", finished_at: null });
    }
    const waited = await send("POST", "/tenants/wayne/backup", { key, body: { wait: true } });
    expect(waited.body).toMatchObject({ http_status: 200, id: "bak_0001", status: "ready", rows: 10, snapshot_at: "2026-01-15T03:00:00.000Z" });
  });

  it("are made in the format that is asked for, and downloaded under its name", async () => {
    const { app, send, key, backups } = await make();
    for (const format of ["own", "custom", "auto"]) await send("POST", "/tenants/wayne/backup", { key, body: { format } });
    await send("POST", "/tenants/wayne/backup", { key });
    expect(backups.formats).toEqual(["own", "custom", "auto", undefined]);
    for (const format of ["tar", 1, ""]) {
      const { body } = await send("POST", "/tenants/wayne/backup", { key, body: { format } });
      expect(body).toMatchObject({ http_status: 400, issues: [{ path: "format", message: "must be auto, own or custom" }] });
    }
    Object.assign(backups.backup, { format: "custom" });
    expect((await send("GET", "/tenants/wayne/backups/bak_0001", { key })).body).toMatchObject({ format: "custom" });
    const headers = { authorization: `Bearer ${key}` };
    const response = await app.request("/tenants/wayne/backups/bak_0001/download", { headers }, { remoteAddress: "192.0.2.1" });
    expect(Object.fromEntries(response.headers)).toMatchObject({
      "content-type": "application/octet-stream",
      "content-disposition": 'attachment; filename="wayne-bak_0001.dump"',
    });
  });

  it("are listed in pages, looked at, deleted, and downloaded as a file", async () => {
    const { app, send, key, backups } = await make();
    const listed = await send("GET", "/tenants/wayne/backups?limit=5", { key });
    expect(listed.body).toMatchObject({ count: 1, next_cursor: null, backups: [{ id: "bak_0001", blueprint: "myapp", error: null }] });
    expect(backups.pages).toEqual([{ limit: 5 }]);
    expect((await send("GET", "/tenants/wayne/backups/bak_0001", { key })).body).toMatchObject({ id: "bak_0001" });
    const response = await app.request(
      "/tenants/wayne/backups/bak_0001/download",
      { headers: { authorization: `Bearer ${key}` } },
      { remoteAddress: "192.0.2.1" },
    );
    expect(await response.text()).toBe("a file");
    expect(Object.fromEntries(response.headers)).toMatchObject({
      "content-type": "application/gzip",
      "content-disposition": 'attachment; filename="wayne-bak_0001.sql.gz"',
      "content-length": "6",
      "x-content-sha256": "00",
      "cache-control": "no-store",
    });
    expect((await send("DELETE", "/tenants/wayne/backups/bak_0001", { key })).body).toMatchObject({
      id: "bak_0001",
      message: "Backup 'bak_0001' deleted",
    });
  });

  it.each(["bak_ffff", "nonsense", "..%2f..%2fetc", "%00", "rbk_0001", "BAK_0001"])("of id %s are not found", async (id) => {
    const { send, key } = await make();
    for (const [method, path] of [
      ["GET", ""],
      ["GET", "/download"],
      ["DELETE", ""],
    ] as const) {
      expect((await send(method, `/tenants/wayne/backups/${id}${path}`, { key })).body).toMatchObject({ http_status: 404, code: "not_found" });
    }
    expect((await send("GET", `/tenants/wayne/rollbacks/${id.replace("rbk", "bak")}`, { key })).body).toMatchObject({ code: "not_found" });
  });

  it("of a tenant whose PostgreSQL blueprint a workspace-scoped key does not cover are out of its scope", async () => {
    const { send, keys } = await make();
    const key = keys.workspace.admin; // covers myapp; globex has other_app as well
    expect((await send("GET", "/tenants/wayne/backups", { key })).status).toBe(200);
    for (const [method, path] of [
      ["POST", "/tenants/globex/backup"],
      ["GET", "/tenants/globex/backups"],
      ["POST", "/tenants/globex/clone"],
      ["GET", "/tenants/solo/backups"],
      ["GET", "/workspaces/other_app/backup-schedule"],
    ] as const) {
      const body = path.endsWith("clone") ? { tenant_id: "stolen" } : {};
      expect((await send(method, path, { key, ...(method === "POST" && { body }) })).body, path).toMatchObject({
        http_status: 403,
        code: "scope_denied",
      });
    }
  });
});

describe("rollbacks", () => {
  it("go to a backup or a date", async () => {
    const { send, key, backups } = await make();
    const byId = await send("POST", "/tenants/wayne/rollback", { key, body: { backup_id: "bak_0001", upgrade: true } });
    expect(byId.body).toMatchObject({ http_status: 202, status: "queued" });
    const byDate = await send("POST", "/tenants/wayne/rollback", { key, body: { date: "2026-01-15T09:30:00Z", wait: true } });
    expect(byDate.body).toMatchObject({ http_status: 200, status: "done", warnings: ["table x was made anew"] });
    expect(backups.requests).toEqual([
      { backupId: "bak_0001", date: undefined, upgrade: true },
      { backupId: undefined, date: Date.UTC(2026, 0, 15, 9, 30), upgrade: false },
    ]);
    const undone = await send("POST", "/tenants/wayne/rollbacks/rbk_0001/undo", { key });
    expect(undone.body).toMatchObject({ http_status: 202, undoes: "rbk_0001", backup_id: null });
    expect((await send("GET", "/tenants/wayne/rollbacks", { key })).body).toMatchObject({ count: 1, rollbacks: [{ id: "rbk_0001" }] });
  });

  it.each([
    [{}, "backup_id"],
    [{ backup_id: "bak_0001", date: "2026-01-15T09:30:00Z" }, "backup_id"],
    [{ backup_id: "nope" }, "backup_id"],
    [{ backup_id: 7 }, "backup_id"],
    [{ date: "yesterday" }, "date"],
    [{ date: "2026-99-99T00:00:00Z" }, "date"],
    [{ backup_id: "bak_0001", upgrade: "yes" }, "upgrade"],
    [{ backup_id: "bak_0001", force: true }, "force"],
    ["not json", "body"],
    [[], "body"],
  ])("refuse %j", async (body, path) => {
    const { send, key, backups } = await make();
    const answer = await send("POST", "/tenants/wayne/rollback", { key, body });
    expect(answer.body).toMatchObject({ http_status: 400, code: "bad_request" });
    if (path !== "body") expect(answer.body.issues[0].path).toBe(path);
    expect(backups.requests).toEqual([]);
  });
});

describe("new tenants of backups and tenants", () => {
  it("come with their own credential", async () => {
    const { send, key } = await make();
    for (const [path, tenant_id] of [
      ["/tenants/wayne/backups/bak_0001/restore", "copy"],
      ["/tenants/wayne/clone", "twin"],
    ]) {
      const answer = await send("POST", path!, { key, body: { tenant_id } });
      expect(answer.body).toMatchObject({
        http_status: 201,
        tenant_id,
        status: "ready",
        warnings: [],
        proxy_password: expect.stringMatching(/^tdb_/),
      });
      expect(answer.body.databases[0].connection_string).toContain(answer.body.proxy_password);
    }
    expect((await send("POST", "/tenants/wayne/clone", { key, body: { tenant_id: "a__b" } })).body).toMatchObject({ code: "bad_request" });
    expect((await send("POST", "/tenants/wayne/clone", { key, body: {} })).body.issues[0].path).toBe("tenant_id");
  });
});

describe("backup schedules", () => {
  it("are set, shown and removed", async () => {
    const { send, key, backups } = await make();
    const path = "/workspaces/myapp/backup-schedule";
    expect((await send("GET", path, { key })).body).toMatchObject({ http_status: 200, schedule: null });
    const set = await send("PUT", path, { key, body: { cron: "0 3 * * *", time_zone: "Europe/Berlin", keep_days: 30 } });
    expect(set.body.schedule).toMatchObject({ cron: "0 3 * * *", time_zone: "Europe/Berlin", keep_count: 14, keep_days: 30, last_run_at: null });
    expect(backups.schedule).toMatchObject({ cron: "0 3 * * *", timeZone: "Europe/Berlin", keepCount: 14, keepDays: 30 });
    expect((await send("DELETE", path, { key })).body).toMatchObject({ http_status: 200 });
    expect((await send("DELETE", path, { key })).body).toMatchObject({ code: "not_found" });
  });

  it.each([
    [{}],
    [{ cron: "" }],
    [{ cron: "0 3 * * *", keep_count: -1 }],
    [{ cron: "0 3 * * *", keep_days: 1.5 }],
    [{ cron: 5 }],
    [{ cron: "* * * * *", every: 1 }],
  ])("refuse %j", async (body) => {
    const { send, key, backups } = await make();
    expect((await send("PUT", "/workspaces/myapp/backup-schedule", { key, body })).body).toMatchObject({ http_status: 400, code: "bad_request" });
    expect(backups.schedule).toBeUndefined();
  });
});
