/** Certificates: made once, kept, renewed, refused with the setting's name; the channel binding's hash per signature. */

import { execFileSync, spawnSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ManualClock } from "../../../core/clock.ts";
import type { Log, LogFields, LogLevel } from "../../../core/log.ts";
import { ensureCertificates, loadCertificates } from "../../../gateway/tls/certificates.ts";
import { serverEndPoint, signatureHash } from "../../../gateway/tls/end-point.ts";
import type { PemPair } from "../../../gateway/tls/issue.ts";
import { watchCertificates } from "../../../gateway/tls/watch.ts";

const dayMs = 86_400_000;
const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;

let dir: string;
let nowMs: number;
const clock = { wallMs: () => nowMs };

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "tenantry-tls-"));
  nowMs = Date.now();
});
afterEach(() => rm(dir, { recursive: true, force: true }));

function ensure(names: readonly string[] = ["db.example.com", "10.1.2.3"]) {
  return ensureCertificates({ dir, names, clock });
}

test("certificates: a new folder gets a CA and a server certificate it signed, keys for the owner only", async () => {
  const { certPem, keyPem, caFile } = await ensure();
  const ca = new X509Certificate(await readFile(caFile!, "utf8"));
  const server = new X509Certificate(certPem);
  expect(server.verify(ca.publicKey)).toBe(true);
  expect(ca.ca).toBe(true);
  expect(server.ca).toBe(false);
  for (const name of ["localhost", hostname(), "db.example.com"]) expect(server.checkHost(name)).toBeDefined();
  for (const address of ["127.0.0.1", "::1", "10.1.2.3"]) expect(server.checkIP(address)).toBeDefined();
  expect(server.checkHost("other.example.com")).toBeUndefined();
  expect(Math.round((Date.parse(server.validTo) - nowMs) / dayMs)).toBe(825);
  expect(Math.round((Date.parse(ca.validTo) - nowMs) / dayMs)).toBe(3650);
  expect(keyPem).toContain("PRIVATE KEY");
  for (const key of ["ca.key", "server.key"]) expect((await stat(join(dir, key))).mode & 0o777).toBe(0o600);
});

test.skipIf(!hasOpenssl)("certificates: openssl accepts the chain for every name", async () => {
  const { caFile } = await ensure();
  const verify = (...args: string[]) =>
    execFileSync("openssl", ["verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", caFile!, ...args, join(dir, "server.crt")]).toString();
  expect(verify("-verify_hostname", "db.example.com")).toContain("OK");
  expect(verify("-verify_ip", "::1")).toContain("OK");
});

test("certificates: a later start uses the same ones, whatever the order and case of the names", async () => {
  const first = await ensure(["a.example.com", "b.example.com"]);
  expect(await ensure(["B.example.com", "a.example.com"])).toEqual(first);
});

test("certificates: wildcards and IPv6 in any spelling are names too, and are recognised again", async () => {
  const names = ["*.db.example.com", "2001:0DB8:0:0::1", "under_score"];
  const first = await ensure(names);
  expect(new X509Certificate(first.certPem).checkHost("tenant.db.example.com")).toBeDefined();
  expect(new X509Certificate(first.certPem).checkIP("2001:db8::1")).toBeDefined();
  expect(await ensure(names)).toEqual(first);
});

test.each(["", "two words", "a,b", "http://host", "*"])("certificates: %j is refused as a name", async (name) => {
  await expect(ensure([name])).rejects.toThrow(/^public_host or tls\.names: ".*" is neither a host name nor an IP address/);
});

test("certificates: other names make a new server certificate under the same CA", async () => {
  const first = await ensure(["a.example.com"]);
  const ca = await readFile(first.caFile!, "utf8");
  const second = await ensure(["a.example.com", "b.example.com"]);
  expect(second.certPem).not.toBe(first.certPem);
  const third = await ensure(["b.example.com"]);
  expect(new X509Certificate(third.certPem).checkHost("a.example.com")).toBeUndefined();
  expect(await readFile(first.caFile!, "utf8")).toBe(ca);
});

test("certificates: renewed from 30 days before the end, not earlier", async () => {
  const first = await ensure();
  nowMs += 794 * dayMs;
  expect((await ensure()).certPem).toBe(first.certPem);
  nowMs += 2 * dayMs;
  expect((await ensure()).certPem).not.toBe(first.certPem);
});

test("certificates: a damaged or mismatched server pair is made anew", async () => {
  const first = await ensure();
  for (const damage of ["", first.keyPem.slice(0, 60), await readFile(join(dir, "ca.key"), "utf8")]) {
    await writeFile(join(dir, "server.key"), damage);
    const next = await ensure();
    expect(next.certPem).not.toBe(first.certPem);
    expect(new X509Certificate(next.certPem).verify(new X509Certificate(await readFile(next.caFile!, "utf8")).publicKey)).toBe(true);
  }
});

test("certificates: a CA without its key serves on, and says what to do when a new certificate is needed", async () => {
  const first = await ensure();
  await rm(join(dir, "ca.key"));
  expect(await ensure()).toEqual(first);
  await expect(ensure(["new.example.com"])).rejects.toThrow(
    /Cannot make a server certificate with the CA in .*: the key is missing\. Restore ca\.key/,
  );
});

test("certificates: a crash between the two files of a pair is repaired", async () => {
  await ensure();
  await rm(join(dir, "ca.crt"));
  const { certPem, caFile } = await ensure();
  expect(new X509Certificate(certPem).verify(new X509Certificate(await readFile(caFile!, "utf8")).publicKey)).toBe(true);
});

test("certificates: the operator's files are loaded, and refusals name the setting", async () => {
  const made = await ensure();
  const certFile = join(dir, "server.crt");
  const keyFile = join(dir, "server.key");
  expect(await loadCertificates({ certFile, keyFile })).toEqual({ certPem: made.certPem, keyPem: made.keyPem, caFile: undefined });
  await expect(loadCertificates({ certFile: join(dir, "no.crt"), keyFile })).rejects.toThrow(/^tls\.cert_file: cannot read .*no\.crt \(ENOENT\)/);
  await expect(loadCertificates({ certFile, keyFile: join(dir, "no.key") })).rejects.toThrow(/^tls\.key_file: cannot read .*no\.key \(ENOENT\)/);
  await expect(loadCertificates({ certFile, keyFile: join(dir, "ca.key") })).rejects.toThrow(/the private key does not belong to the certificate/);
  await expect(loadCertificates({ certFile: keyFile, keyFile })).rejects.toThrow(/the certificate is not valid PEM/);
  await expect(loadCertificates({ certFile, keyFile: certFile })).rejects.toThrow(/the private key is not valid/);
});

interface Event {
  readonly level: LogLevel;
  readonly event: string;
  readonly fields: LogFields | undefined;
}

/** A watch over two pairs in memory, with time moved by hand. */
async function watched() {
  const [first, second] = [await ensure(["one.example.com"]), await ensure(["two.example.com"])];
  const files: PemPair = { certPem: first.certPem, keyPem: first.keyPem };
  const state = { files, served: [] as string[] };
  const events: Event[] = [];
  const log: Log = { write: (level, event, fields) => void events.push({ level, event, fields }) };
  const time = new ManualClock();
  const server = {
    kind: "tls-server-context" as const,
    reload({ cert, key }: { cert: string; key: string }) {
      const pair = [first, second].find(({ certPem }) => certPem === cert);
      if (pair?.keyPem !== key) throw new Error("the private key does not belong to the certificate");
      state.served.push(cert);
    },
  };
  const watch = watchCertificates({ load: async () => state.files, current: first, server, clock: time, log, intervalMs: 5000 });
  return { first, second, state, events, time, watch };
}

test("watch: unchanged files reload nothing", async () => {
  const { state, events, time, watch } = await watched();
  time.advance(60_000);
  await watch.check();
  expect(state.served).toEqual([]);
  expect(events).toEqual([]);
});

test("watch: changed files are served at the next look", async () => {
  const { second, state, events, time, watch } = await watched();
  state.files = second;
  time.advance(5000);
  await watch.check();
  expect(state.served).toEqual([second.certPem]);
  expect(events.map(({ event }) => event)).toEqual(["certificate reloaded"]);
});

test("watch: a half-written pair is warned of once, and served when it is whole", async () => {
  const { first, second, state, events, time, watch } = await watched();
  state.files = { certPem: second.certPem, keyPem: first.keyPem };
  for (let i = 0; i < 3; i++) {
    time.advance(5000);
    await watch.check();
  }
  expect(state.served).toEqual([]);
  expect(events.map(({ level }) => level)).toEqual(["warn"]);
  state.files = second;
  await watch.check();
  expect(state.served).toEqual([second.certPem]);
});

test("watch: nothing is looked at after stop", async () => {
  const { second, state, time, watch } = await watched();
  watch.stop();
  state.files = second;
  time.advance(60_000);
  expect(state.served).toEqual([]);
});

test.skipIf(!hasOpenssl).each([
  ["ecdsa sha256", ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-sha256"], "sha256"],
  ["ecdsa sha384", ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp384r1", "-sha384"], "sha384"],
  ["rsa sha256", ["-newkey", "rsa:2048", "-sha256"], "sha256"],
  ["rsa sha512", ["-newkey", "rsa:2048", "-sha512"], "sha512"],
  ["rsa sha1, which counts as sha256", ["-newkey", "rsa:2048", "-sha1"], "sha256"],
  ["rsa pss sha384", ["-newkey", "rsa:2048", "-sha384", "-sigopt", "rsa_padding_mode:pss"], "sha384"],
  ["rsa pss with its default, sha1", ["-newkey", "rsa:2048", "-sha1", "-sigopt", "rsa_padding_mode:pss"], "sha256"],
  ["ed25519, which has none", ["-newkey", "ed25519"], undefined],
])("end point: %s", async (_, args, expected) => {
  const file = join(dir, "c.pem");
  execFileSync("openssl", ["req", "-x509", "-nodes", ...args, "-keyout", join(dir, "k.pem"), "-out", file, "-subj", "/CN=x"], { stdio: "ignore" });
  const pem = await readFile(file, "utf8");
  const der = new X509Certificate(pem).raw;
  expect(signatureHash(der)).toBe(expected);
  const digest = expected && execFileSync("openssl", ["dgst", `-${expected}`, "-binary"], { input: der });
  expect(serverEndPoint(pem)).toEqual(digest ? new Uint8Array(digest) : undefined);
});

test("end point: every truncation of a certificate is an error, never a hang or a wrong hash", async () => {
  const der = new X509Certificate((await ensure()).certPem).raw;
  for (let length = 0; length < der.length; length++) expect(() => signatureHash(der.subarray(0, length))).toThrow(RangeError);
});
