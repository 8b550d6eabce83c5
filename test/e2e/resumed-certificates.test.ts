/** TLS sessions of clients that show certificates, resumed: at either of two workers the certificate still counts, and only as long as it is trusted. */
import type { TLSSocket } from "node:tls";
import pg from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { PemPair } from "../../gateway/tls/issue.ts";
import { issueClient, makeAuthority } from "./support/client-certificates.ts";
import { clientConfig } from "./support/clients.ts";
import { type Fleet, makeFleet } from "./support/fleet.ts";
import { until } from "./support/until.ts";
import { workerOf } from "./support/worker-of.ts";

/** How one connection went. */
interface Visit {
  /** "in", or SQLSTATE and message. */
  readonly outcome: string;
  readonly isResumed: boolean;
  readonly place: number;
  /** What the server gave to resume it with. */
  readonly ticket: Buffer | undefined;
}

describe.each([
  ["node", 2],
  ["bun", 1],
  ["deno", 1],
] as const)("client certificates of resumed TLS sessions under %s, workers: %i", (runtime, workers) => {
  let fleet: Fleet;
  let authority: PemPair;
  let path: string;
  beforeAll(async () => {
    fleet = await makeFleet(runtime, ["--tls-client-certificates", `--workers=${workers}`, "--auth-ban-threshold=1000", "--ip-connect-burst=1000"]);
    authority = await makeAuthority("clients of wayne");
    path = `/projects/${fleet.gateway.credentials.project_id}/client-certificates`;
  });
  afterAll(() => fleet?.dispose());

  async function visit(shown: { readonly pair?: PemPair; readonly session?: Buffer | undefined }): Promise<Visit> {
    const certificate = shown.pair && { cert: shown.pair.certPem, key: shown.pair.keyPem };
    const ssl = { ca: fleet.ca, ...certificate, ...(shown.session && { session: shown.session }) };
    const client = new pg.Client({ ...clientConfig(fleet.gateway, fleet.tenant("wayne")), ssl });
    client.on("error", () => undefined); // told by connect()
    const { connection } = client as unknown as { connection: { stream: TLSSocket; once(event: "sslconnect", listener: () => void): void } };
    let ticket: Buffer | undefined;
    let isResumed = false;
    connection.once("sslconnect", () => {
      connection.stream.on("session", (made: Buffer) => {
        ticket = made;
      });
      connection.stream.once("secureConnect", () => {
        isResumed = connection.stream.isSessionReused();
      });
    });
    const outcome = await client.connect().then(
      () => "in",
      (error: Error & { code?: string }) => `${error.code} ${error.message}`,
    );
    const place = outcome === "in" && workers > 1 ? await workerOf(fleet.gateway, connection.stream) : 0;
    await client.end();
    return { outcome, isResumed, place, ticket };
  }

  /** Demands a certificate of `trusted`'s from now on. */
  async function demand(trusted: PemPair): Promise<void> {
    expect((await fleet.api("PUT", path, { certificates: trusted.certPem })).status).toBe(200);
    const own = await issueClient(trusted, "app");
    await until(async () => (await visit({})).outcome !== "in" && (await visit({ pair: own })).outcome === "in");
  }

  /** The workers hear of a change one after the other; whom both refuse is refused time after time. */
  async function refusedInARow(shown: Parameters<typeof visit>[0], why: string): Promise<void> {
    await until(async () => {
      for (let i = 0; i < 8; i++) if (!(await visit(shown)).outcome.includes(why)) return false;
      return true;
    });
  }

  it("whoever has a ticket and shows the certificate comes in, as often as it likes", async () => {
    const pair = await issueClient(authority, "app");
    const free = await visit({ pair });
    expect(free).toMatchObject({ outcome: "in", ticket: expect.any(Buffer) });
    for (let i = 0; i < 4; i++) expect(await visit({ pair, session: free.ticket })).toMatchObject({ outcome: "in" });
    await demand(authority);
    const begun = await visit({ pair });
    expect(begun).toMatchObject({ outcome: "in", ticket: expect.any(Buffer) });
    for (let i = 0; i < 4; i++) expect(await visit({ pair, session: begun.ticket })).toMatchObject({ outcome: "in" });
    expect((await fleet.api("DELETE", path)).status).toBe(200);
    await until(async () => {
      for (let i = 0; i < 8; i++) if ((await visit({})).outcome !== "in") return false;
      return true;
    });
  });

  it.runIf(runtime === "node")("counts at the other worker without being shown again; a session begun without one has none", async () => {
    const begunWithout = await visit({});
    await demand(authority);
    const begun = await visit({ pair: await issueClient(authority, "app") });
    expect(begun).toMatchObject({ outcome: "in", isResumed: false, ticket: expect.any(Buffer) });
    const places = new Set<number>();
    await until(async () => {
      const resumed = await visit({ session: begun.ticket });
      expect(resumed).toMatchObject({ outcome: "in", isResumed: true });
      return places.add(resumed.place).size === 2;
    });
    await refusedInARow({ session: begunWithout.ticket }, "requires a client certificate");
  });

  it("one that is no longer trusted does not come in with its ticket either", async () => {
    await demand(authority);
    const pair = await issueClient(authority, "app");
    const begun = await visit({ pair });
    expect(begun).toMatchObject({ outcome: "in", ticket: expect.any(Buffer) });
    await demand(await makeAuthority("others"));
    await refusedInARow({ session: begun.ticket, pair }, "does not trust the certificate");
  });
});
