/** Conformance: what else a runtime gives: crypto, HTTP, signals. */

import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { ensureCertificates } from "../../../../gateway/tls/certificates.ts";
import { bytesOf, type Case, deferred, rejection, type World } from "../harness.ts";

export const serviceCases: readonly Case[] = [
  { name: "crypto: published test vectors", run: vectors },
  { name: "crypto: comparison and randomness", run: comparison },
  { name: "certificates: made once, recognised again", run: certificatesAreKept },
  { name: "http: a request knows its peer, headers and body pass", run: request },
  { name: "http: a port in use keeps its code", run: httpPortInUse },
  { name: "http: close waits for a running request", run: drains },
  { name: "signal: is heard until the listener is taken off", run: signals },
];

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

async function vectors({ runtime: { crypto } }: World): Promise<void> {
  // FIPS 180-2 "abc"; RFC 4231 case 2; RFC 7914 section 11, first 32 bytes.
  assert.equal(hex(crypto.sha256(bytesOf("abc"))), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  assert.equal(
    hex(crypto.hmacSha256(bytesOf("Jefe"), bytesOf("what do ya want for nothing?"))),
    "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
  );
  assert.equal(
    hex(await crypto.pbkdf2Sha256(bytesOf("passwd"), bytesOf("salt"), 1)),
    "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc",
  );
}

async function comparison({ runtime: { crypto } }: World): Promise<void> {
  assert.equal(crypto.equal(bytesOf("same"), bytesOf("same")), true);
  assert.equal(crypto.equal(bytesOf("same"), bytesOf("sama")), false);
  assert.equal(crypto.equal(bytesOf("same"), bytesOf("longer")), false);
  assert.equal(crypto.randomBytes(32).length, 32);
  assert.notEqual(hex(crypto.randomBytes(16)), hex(crypto.randomBytes(16)));
}

async function certificatesAreKept(world: World): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), "tenantry-certificates-"));
  world.onEnd(() => rm(dir, { recursive: true, force: true }));
  const options = { dir, names: ["*.db.example.com", "2001:DB8::1"], clock: { wallMs: () => Date.now() } };
  const first = await ensureCertificates(options);
  assert.deepEqual(await ensureCertificates(options), first);
  assert.notEqual((await ensureCertificates({ ...options, names: [] })).certPem, first.certPem);
}

async function request({ runtime }: World): Promise<void> {
  const server = await runtime.serveHttp({
    host: "127.0.0.1",
    port: 0,
    fetch: async (incoming, { remoteAddress }) =>
      Response.json({ remoteAddress, method: incoming.method, body: await incoming.text() }, { status: 201, headers: { "x-answer": "yes" } }),
  });
  const response = await fetch(`http://127.0.0.1:${server.port}/path`, { method: "POST", body: "hello" });
  assert.equal(response.status, 201);
  assert.equal(response.headers.get("x-answer"), "yes");
  assert.deepEqual(await response.json(), { remoteAddress: "127.0.0.1", method: "POST", body: "hello" });
  await server.close();
}

async function httpPortInUse({ runtime }: World): Promise<void> {
  const fetch = () => new Response("ok");
  const server = await runtime.serveHttp({ host: "127.0.0.1", port: 0, fetch });
  const error = await rejection(runtime.serveHttp({ host: "127.0.0.1", port: server.port, fetch }));
  assert.equal(error.code, "EADDRINUSE");
  await server.close();
}

async function drains({ runtime }: World): Promise<void> {
  const running = deferred<void>();
  const release = deferred<void>();
  const server = await runtime.serveHttp({
    host: "127.0.0.1",
    port: 0,
    fetch: async () => {
      running.resolve();
      await release.promise;
      return new Response("finished");
    },
  });
  const url = `http://127.0.0.1:${server.port}/`;
  const answer = fetch(url, { headers: { connection: "close" } }).then((response) => response.text());
  await running.promise;
  const closed = server.close();
  await rejection(fetch(url));
  release.resolve();
  assert.equal(await answer, "finished");
  await closed;
}

async function signals({ runtime }: World): Promise<void> {
  let heard = 0;
  let arrived = deferred<void>();
  const off = runtime.onSignal("SIGHUP", () => {
    heard += 1;
    arrived.resolve();
  });
  process.kill(process.pid, "SIGHUP");
  await arrived.promise;
  arrived = deferred<void>();
  const guard = runtime.onSignal("SIGHUP", () => arrived.resolve());
  off();
  process.kill(process.pid, "SIGHUP");
  await arrived.promise;
  guard();
  assert.equal(heard, 1);
}
