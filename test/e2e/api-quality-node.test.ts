/** What the API promises of requests that are sent twice, of settings two people change, and of lists, on a real store. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connect } from "./support/clients.ts";
import { type Fleet, makeFleet } from "./support/fleet.ts";
import { type NativeServer, openNativeServer } from "./support/native.ts";

let fleet: Fleet;
let native: NativeServer;

beforeAll(async () => {
  fleet = await makeFleet("node");
  native = openNativeServer(fleet.gateway);
});
afterAll(async () => {
  await native?.close();
  await fleet?.dispose();
});

interface Whole {
  readonly status: number;
  readonly headers: Headers;
  // biome-ignore lint/suspicious/noExplicitAny: answers are looked into field by field
  readonly body: any;
}

async function send(method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Whole> {
  const { api_url, api_key } = fleet.gateway.credentials;
  const response = await fetch(api_url + path, {
    method,
    headers: { authorization: `Bearer ${api_key}`, "content-type": "application/json", ...headers },
    ...(body !== undefined && { body: JSON.stringify(body) }),
  });
  return { status: response.status, headers: response.headers, body: await response.json() };
}

describe("Idempotency-Key", () => {
  const newKey = { name: "once", role: "read", scope_type: "tenant", scope_values: ["wayne"] };
  const countOf = async (name: string) => (await send("GET", "/apikeys")).body.api_keys.filter((row: { name: string }) => row.name === name).length;
  const once = (key: string, body: unknown = newKey, headers: Record<string, string> = {}) =>
    send("POST", "/apikeys", body, { "idempotency-key": key, ...headers });

  it("makes a thing once and answers twice, secrets included, which the store cannot read", async () => {
    const first = await once("a-1");
    expect(first.status).toBe(201);
    expect(first.headers.get("idempotency-replayed")).toBeNull();
    const second = await once("a-1");
    expect(second.status).toBe(201);
    expect(second.headers.get("idempotency-replayed")).toBe("true");
    expect(second.body).toEqual(first.body);
    expect(await countOf("once")).toBe(1);
    const rows = await native.rows(undefined, "SELECT i::text || encode(sealed, 'escape') AS row FROM tenantry.idempotency i");
    expect(rows).toHaveLength(1);
    for (const secret of [first.body.key, first.body.proxy_password, "a-1"]) expect(rows[0].row).not.toContain(secret);
    const recorded = (await send("GET", "/audit?limit=1000")).body.changes.filter((row: { target: string }) => row.target === first.body.id);
    expect(recorded).toHaveLength(1);
  });

  it("tells a key that is used for another request, and keeps each caller's own", async () => {
    expect((await once("a-1", { ...newKey, name: "other" })).body.code).toBe("conflict");
    expect((await send("POST", "/workspaces", { name: "elsewhere" }, { "idempotency-key": "a-1" })).body.code).toBe("conflict");
    const admin = await fleet.makeKey({ role: "admin", scope_type: "project" });
    const theirs = await once("a-1", newKey, { authorization: `Bearer ${admin.key}` });
    expect(theirs.status).toBe(201);
    expect(await countOf("once")).toBe(2);
    // A rotated key is the same caller with another secret: what the old one sealed stays shut.
    const rotated = (await send("POST", `/apikeys/${admin.id}/rotate`, {})).body.key;
    const shut = await once("a-1", newKey, { authorization: `Bearer ${rotated}` });
    expect([shut.status, shut.body.code]).toEqual([409, "conflict"]);
    expect(shut.body.error).toContain("cannot be shown again");
    expect(await countOf("once")).toBe(2);
  });

  it("lets one of many at the same time through", async () => {
    const answers = await Promise.all(Array.from({ length: 8 }, () => once("b-1", { ...newKey, name: "race" })));
    expect(await countOf("race")).toBe(1);
    for (const { status } of answers) expect([201, 409]).toContain(status);
    expect(new Set(answers.filter(({ status }) => status === 201).map(({ body }) => body.key)).size).toBe(1);
    expect((await once("b-1", { ...newKey, name: "race" })).status).toBe(201);
  });

  it("does not remember refusals: what was mended is carried out", async () => {
    expect((await once("c-1", { ...newKey, scope_values: ["latecomer"] })).status).toBe(400);
    await fleet.addTenant("latecomer");
    expect((await once("c-1", { ...newKey, scope_values: ["latecomer"] })).status).toBe(201);
  });

  it("says so when what was begun has no known end, and forgets after a day", async () => {
    const first = await once("d-1", { ...newKey, name: "cut" });
    await native.rows(
      undefined,
      "UPDATE tenantry.idempotency SET status = NULL, sealed = NULL WHERE key_hash = (SELECT key_hash FROM tenantry.idempotency ORDER BY created_at DESC LIMIT 1)",
    );
    const cut = await once("d-1", { ...newKey, name: "cut" });
    expect([cut.status, cut.headers.get("retry-after")]).toEqual([409, "1"]);
    expect(cut.body.error).toContain("cut short");
    await native.rows(undefined, "UPDATE tenantry.idempotency SET created_at = created_at - interval '25 hours'");
    const later = await once("d-1", { ...newKey, name: "cut" });
    expect(later.status).toBe(201);
    expect(later.body.key).not.toBe(first.body.key);
    expect((await native.rows(undefined, "SELECT 1 FROM tenantry.idempotency")).length).toBe(1);
  });

  it("carries out once what has an answer too large to keep, or one in lines, and says so the second time", async () => {
    const countOf = async (id: string, name: string) =>
      (await send("POST", `/tenants/${id}/query`, { query: "SELECT count(*)::int FROM accounts WHERE name = $1", params: [name] })).body.rows[0][0];
    const large = { query: "INSERT INTO accounts (name) VALUES ('large') RETURNING repeat('x', 1100000)" };
    const sendLarge = () => send("POST", "/tenants/wayne/query", large, { "idempotency-key": "e-1" });
    expect((await sendLarge()).body.rows[0][0]).toHaveLength(1_100_000);
    const again = await sendLarge();
    expect([again.status, again.body.code, again.headers.get("idempotency-replayed")]).toEqual([409, "conflict", null]);
    expect(again.body.error).toContain("was carried out; its answer is not kept");
    expect(await countOf("wayne", "large")).toBe(1);

    const { api_url, api_key } = fleet.gateway.credentials;
    const sendLines = () =>
      fetch(`${api_url}/admin/query`, {
        method: "POST",
        headers: {
          ...{ authorization: `Bearer ${api_key}`, "content-type": "application/json" },
          ...{ accept: "application/x-ndjson", "idempotency-key": "e-2" },
        },
        body: JSON.stringify({ blueprint: "myapp", query: "INSERT INTO accounts (name) VALUES ('lines')", all_tenants: true }),
      });
    const lines = await sendLines();
    expect([lines.status, (await lines.text()).trimEnd().split("\n").length]).toEqual([200, 3]);
    expect((await sendLines()).status).toBe(409);
    for (const id of ["wayne", "globex", "latecomer"]) expect(await countOf(id, "lines"), id).toBe(1);
  });

  it("refuses a header that is no key", async () => {
    const { status, body } = await once("x".repeat(256));
    expect([status, body.issues[0].path]).toEqual([400, "Idempotency-Key"]);
  });
});

describe("ETag and If-Match on settings", () => {
  it.each(["/workspaces/myapp/settings", "/tenants/wayne/settings"])("%s: changes what was read, and nothing else", async (path) => {
    const read = await send("GET", path);
    const etag = read.headers.get("etag")!;
    expect(etag).toMatch(/^"[0-9a-f]{16}"$/);
    const mine = await send("PATCH", path, { max_connections: 31 }, { "if-match": etag });
    expect(mine.status).toBe(200);
    expect(mine.headers.get("etag")).not.toBe(etag);
    expect((await send("GET", path)).headers.get("etag")).toBe(mine.headers.get("etag"));
    const theirs = await send("PATCH", path, { max_connections: 32 }, { "if-match": etag });
    expect([theirs.status, theirs.body.code]).toEqual([412, "precondition_failed"]);
    expect((await send("GET", path)).body.max_connections).toBe(31);
    for (const header of ["*", `"0", ${mine.headers.get("etag")}`]) {
      expect((await send("PATCH", path, { max_connections: 31 }, { "if-match": header })).status, header).toBe(200);
    }
    const bad = await send("PATCH", path, { max_connections: 33 }, { "if-match": "unquoted" });
    expect([bad.status, bad.body.issues[0].path]).toEqual([400, "If-Match"]);
    expect((await send("PATCH", path, { max_connections: 30 })).status).toBe(200);
  });

  it("is the same for POST, which changes a workspace's settings as PATCH does", async () => {
    const path = "/workspaces/myapp/settings";
    const etag = (await send("GET", path)).headers.get("etag")!;
    const mine = await send("POST", path, { max_connections: 34 }, { "if-match": etag });
    expect([mine.status, mine.body.max_connections]).toEqual([200, 34]);
    expect((await send("POST", path, { max_connections: 35 }, { "if-match": etag })).status).toBe(412);
    expect((await send("GET", path)).body.max_connections).toBe(34);
  });

  it("lets one of two changes at the same time through", async () => {
    const etag = (await send("GET", "/workspaces/myapp/settings")).headers.get("etag")!;
    const answers = await Promise.all(
      [40, 41, 42, 43].map((value) => send("PATCH", "/workspaces/myapp/settings", { max_connections: value }, { "if-match": etag })),
    );
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 412, 412, 412]);
  });
});

describe("cursors nobody gave out", () => {
  it("are refused as bad input by every list, and so is a filter no row can have", async () => {
    const forged = [["\u0000"], [1e300], [1.5], [1, "\u0000"], [1e300, "a"], ["\u0000", 1], [{}], "x", null];
    const lists = [
      ...["/tenants", "/workspaces", "/apikeys", "/blueprints", "/blueprints/myapp/versions", "/blueprints/myapp/drift", "/deployments", "/audit"],
      ...["deployments", "backups", "logs"].map((what) => `/tenants/wayne/${what}`),
      ...["/workspaces/myapp/diff", "/workspaces/myapp/logs", "/sessions", "/bans"],
    ];
    const wrong: unknown[] = [];
    for (const list of lists) {
      for (const key of forged) {
        const { status, body } = await send("GET", `${list}?cursor=${Buffer.from(JSON.stringify(key)).toString("base64url")}`);
        // A key of the right shape may be one: what follows it is nothing.
        if (status !== 200 && body.issues?.[0]?.path !== "cursor") wrong.push([list, key, status, body]);
      }
    }
    expect(wrong).toEqual([]);
    for (const filter of ["search", "credential", "session", "transaction"]) {
      expect((await send("GET", `/tenants/wayne/logs?${filter}=%00`)).body.issues, filter).toMatchObject([{ path: filter }]);
    }
    expect((await send("GET", "/audit?credential=%00")).body.issues).toMatchObject([{ path: "credential" }]);
  });
});

describe("lists of what is in memory", () => {
  it("are paged by cursor as all others", async () => {
    const clients = await Promise.all(["wayne", "globex", "acme"].map((id) => connect(fleet.gateway, fleet.tenant(id))));
    const seen: string[] = [];
    let pages = 0;
    for (let cursor: string | null = ""; cursor !== null; pages++) {
      const { body }: Whole = await send("GET", `/sessions?limit=2${cursor && `&cursor=${cursor}`}`);
      expect(body.count).toBe(body.sessions.length);
      seen.push(...body.sessions.map((row: { tenant_id: string }) => row.tenant_id));
      cursor = body.next_cursor;
    }
    expect([pages, seen.sort()]).toEqual([2, ["acme", "globex", "wayne"]]);
    for (const client of clients) await client.end();
    for (const path of ["/sessions", "/bans", "/projects"]) {
      expect((await send("GET", `${path}?cursor=%25`)).body.issues?.[0]?.path, path).toBe("cursor");
      expect((await send("GET", `${path}?limit=0`)).body.issues?.[0]?.path, path).toBe("limit");
    }
  });
});
