/** The client as the package ships it: built, imported by name from another project, its types the API's own. */
import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { makeWorld, type World } from "./support/world.ts";

const run = promisify(execFile);
const root = resolve(import.meta.dirname, "../..");
const compiler = join(root, "node_modules/.bin/tsc");

/** What a user's own project might hold; the lines that must not compile say so. */
const usersCode = `
import { type ApiClient, ApiError, createClient, readAnswer, segment } from "tenantry/client";

export async function useClient(apiUrl: string, secret: string, ask: typeof fetch) {
  const client: ApiClient = createClient({ apiUrl, secret, fetch: ask });
  const made = await readAnswer(
    client.tenants.$post({ json: { tenant_id: "fresh", databases: [{ blueprint: "myapp" }] } }, { headers: { "Idempotency-Key": "k-1" } }),
  );
  const password: string | null = made.proxy_password;
  const { tenants, next_cursor } = await readAnswer(client.tenants.$get({ query: { limit: "1" } }));
  const status: "creating" | "ready" | "suspended" | "trash" | "deleting" | undefined = tenants[0]?.status;
  const logs = await readAnswer(client.tenants[":id"].logs.$get({ param: { id: segment("fresh") }, query: { type: "error", since: "1h" } }));
  const slow: boolean | undefined = logs.logs[0]?.slow;
  const refused = await readAnswer(client.tenants[":id"].$get({ param: { id: "nobody" } })).catch((error) => error);
  return { password, next_cursor, status, slow, code: refused instanceof ApiError ? refused.code : undefined };
}

export function mistakes(client: ApiClient) {
  // @ts-expect-error: no such noun
  client.customers;
  // @ts-expect-error: tenant_id is missing
  client.tenants.$post({ json: { databases: [] } });
  // @ts-expect-error: a number is no role
  client.apikeys.$post({ json: { name: "x", role: 1 } });
}
`;

let folder: string;
let world: World;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "tdb-client-"));
  world = await makeWorld();
  const shipped = join(folder, "node_modules/tenantry");
  await mkdir(shipped, { recursive: true });
  await run(compiler, ["-p", join(root, "tsconfig.build.json"), "--outDir", join(shipped, "dist"), "--sourceMap", "false"], { cwd: root });
  await cp(join(root, "package.json"), join(shipped, "package.json"));
  await symlink(join(root, "node_modules"), join(shipped, "node_modules"));
  await writeFile(join(folder, "package.json"), JSON.stringify({ name: "user", type: "module" }));
  await writeFile(join(folder, "use.ts"), usersCode);
  const compilerOptions = {
    module: "nodenext",
    target: "es2023",
    lib: ["ES2023", "DOM"],
    strict: true,
    skipLibCheck: true,
    outDir: "out",
    types: [],
  };
  await writeFile(join(folder, "tsconfig.json"), JSON.stringify({ compilerOptions, files: ["use.ts"] }));
}, 300_000); // a whole build, which a busy machine may take minutes for
afterAll(() => rm(folder, { recursive: true, force: true }));

describe("tenantry/client", () => {
  it("gives another project the API's types, and its mistakes back to it", async () => {
    const { stdout } = await run(compiler, ["-p", folder], { cwd: folder }).catch((error) => error);
    expect(stdout).toBe("");
  });

  it("works, and loads nothing of the server", async () => {
    const { useClient } = await import(join(folder, "out/use.js"));
    const ask = (async (input: string | URL | Request, init?: RequestInit) =>
      world.app.request(input as string, init, { remoteAddress: "192.0.2.1" })) as typeof fetch;
    const found = await useClient("http://127.0.0.1:9876", world.key, ask);
    expect(found).toMatchObject({ password: expect.stringMatching(/^tdb_/), status: "ready", slow: false, code: "not_found" });
    expect(found.next_cursor).toEqual(expect.any(String));
    const shipped = await readFile(join(folder, "node_modules/tenantry/dist/api/client.js"), "utf8");
    expect([...shipped.matchAll(/from "([^"]+)"/g)].map((match) => match[1])).toEqual(["hono/client"]);
  });
});
