/** Client certificates a project demands beside the password: over the real listeners, each runtime's TLS, and libpq. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { PemPair } from "../../gateway/tls/issue.ts";
import { makeApi } from "./support/api.ts";
import { issueClient, makeAuthority } from "./support/client-certificates.ts";
import { connect, psql, refusal } from "./support/clients.ts";
import { type Fleet, makeFleet } from "./support/fleet.ts";
import { redirectClients } from "./support/redirect-clients.ts";
import { until } from "./support/until.ts";

describe.each(["node", "bun", "deno"] as const)("client certificates under %s", (runtime) => {
  let fleet: Fleet;
  let authority: PemPair;
  let path: string;
  beforeAll(async () => {
    fleet = await makeFleet(runtime, ["--tls-client-certificates", "--mysql-port=0", "--mongo-port=0", "--redis-port=0"]);
    authority = await makeAuthority("clients of wayne");
    path = `/projects/${fleet.gateway.credentials.project_id}/client-certificates`;
  });
  afterAll(() => fleet?.dispose());

  const wayne = () => fleet.tenant("wayne");
  const showing = (pair: PemPair) => ({ ssl: { ca: fleet.ca, cert: pair.certPem, key: pair.keyPem } });
  const outcome = (pair?: PemPair) =>
    connect(fleet.gateway, wayne(), pair && showing(pair)).then(
      (client) => client.end().then(() => "in"),
      (error: Error & { code?: string }) => `${error.code} ${error.message}`,
    );
  const demanded = (what: string) => `28000 project "${fleet.gateway.credentials.project_id}" ${what}`;

  it("are not demanded until the project does: with one, without one, over TLS and in clear", async () => {
    const client = await issueClient(authority, "app");
    expect([await outcome(), await outcome(client)]).toEqual(["in", "in"]);
    await (await connect(fleet.gateway, { ...wayne(), sslmode: "disable" })).end();
    expect((await fleet.api("GET", path)).body).toMatchObject({ required: false, certificates: [] });
  });

  it("demanded: one of the authority's comes in; none, another's, an expired one, a server's, and clear text do not; open sessions go on", async () => {
    const open = await connect(fleet.gateway, wayne());
    const put = await fleet.api("PUT", path, { certificates: authority.certPem });
    expect(put.body).toMatchObject({
      required: true,
      count: 1,
      certificates: [{ authority: true, subject: expect.stringContaining("clients of wayne") }],
    });
    const good = await issueClient(authority, "app");
    await until(async () => (await outcome()) !== "in");
    const none = demanded("requires a client certificate: connect over TLS with sslcert and sslkey");
    const wrong = demanded("does not trust the certificate this client shows");
    expect(await outcome(good)).toBe("in");
    expect(await outcome()).toBe(none);
    expect(await refusal(connect(fleet.gateway, { ...wayne(), sslmode: "disable" }))).toEqual(["28000", none.slice(6)]);
    expect(await outcome(await issueClient(await makeAuthority("clients of wayne"), "app"))).toBe(wrong);
    expect(await outcome(await issueClient(authority, "app", { expired: true }))).toBe(wrong);
    expect(await outcome(await issueClient(authority, "app", { purpose: "server" }))).toBe(wrong);
    expect(await refusal(connect(fleet.gateway, { ...wayne(), password: "tdb_0000000000000000" }, showing(good)))).toEqual([
      "28P01",
      expect.stringContaining("password authentication failed"),
    ]);
    expect((await open.query("SELECT 1 AS one")).rows).toEqual([{ one: 1 }]);
    await open.end();
  });

  it.each(["MySQL", "MongoDB", "Redis"] as const)("demanded of clients of %s too, before they are told anything of a database", async (engine) => {
    const name = `shop_${engine.toLowerCase()}`;
    const made = await fleet.api("POST", "/workspaces", { name, database: engine, redirect_to: "db.example:1234" });
    const { port } = made.body.connection;
    const { user, password } = fleet.project();
    const told = (pair?: PemPair, secret = password) =>
      redirectClients[engine]({
        port,
        user,
        password: secret,
        database: `${name}_workspace`,
        tls: pair ? showing(pair).ssl : { ca: fleet.ca },
      });
    const good = await issueClient(authority, "app");
    expect((await fleet.api("PUT", path, { certificates: authority.certPem })).status).toBe(200);
    await until(async () => (await told()).includes("requires a client certificate"));
    expect(await told(good)).toContain("Connect to it directly at db.example:1234");
    expect(await told()).toContain(demanded("requires a client certificate: connect over TLS with one").slice(6));
    expect(await told(await issueClient(authority, "app", { purpose: "server" }))).toContain(demanded("does not trust").slice(6));
    expect(await told(good, "tdb_0000000000000000")).toContain("password authentication failed");
  });

  it("works with libpq, channel binding and SCRAM demanded; says so without", async () => {
    const good = await issueClient(authority, "psql");
    const files = { sslcert: join(fleet.gateway.dataDir, "../client.crt"), sslkey: join(fleet.gateway.dataDir, "../client.key") };
    await writeFile(files.sslcert, good.certPem);
    await writeFile(files.sslkey, good.keyPem, { mode: 0o600 });
    const options = `sslcert=${files.sslcert} sslkey=${files.sslkey} channel_binding=require`;
    expect((await psql(fleet.gateway, { ...wayne(), options }, "SELECT 'in'")).stdout).toBe("in\n");
    expect((await psql(fleet.gateway, wayne(), "SELECT 1")).stderr).toContain("requires a client certificate");
  });

  it("a single client's own certificate; what is no certificate is refused; cleared", async () => {
    const [one, two] = [await issueClient(authority, "one"), await issueClient(authority, "two")];
    expect((await fleet.api("PUT", path, { certificates: one.certPem })).status).toBe(200);
    await until(async () => (await outcome(two)) !== "in");
    expect(await outcome(one)).toBe("in");
    for (const certificates of [
      "no PEM",
      one.keyPem,
      `${one.certPem}${one.keyPem}`,
      "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
    ]) {
      expect((await fleet.api("PUT", path, { certificates })).body).toMatchObject({
        code: "bad_request",
        error: expect.stringMatching(/^certificates/),
      });
    }
    expect((await fleet.api("DELETE", path)).body).toMatchObject({ required: false, count: 0 });
    await until(async () => (await outcome()) === "in");
    const { body } = await fleet.api("GET", "/audit?limit=2");
    const trusted = {
      certificates: [{ subject: expect.stringContaining("one"), fingerprint: expect.stringMatching(/^[0-9a-f]{64}$/), authority: false }],
    };
    expect(body.changes).toMatchObject([
      { action: "DELETE /projects/{id}/client-certificates", before: trusted, after: { certificates: [] } },
      { action: "PUT /projects/{id}/client-certificates", before: { certificates: [{ authority: true }] }, after: trusted },
    ]);
    expect(JSON.stringify(body)).not.toContain("BEGIN");
  });

  it("only the project's own admins may set them", async () => {
    const { api_url } = fleet.gateway.credentials;
    const { body } = await makeApi(api_url, "")("POST", "/signup", {
      email: "eve@second.example",
      password: "a long password",
      project_name: "Second",
    });
    const read = await fleet.makeKey({ role: "read", scope_type: "project" });
    for (const [key, status] of [
      [body.api_key, 404],
      [read.key, 403],
      ["", 401],
    ] as const) {
      expect((await makeApi(api_url, key)("PUT", path, { certificates: authority.certPem })).status).toBe(status);
    }
  });
});
