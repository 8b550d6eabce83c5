/** The gateway's own certificate: made once with a local CA and kept in a folder, or the operator's own files. */

import { X509Certificate } from "node:crypto";
import { chmod, mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { isIP } from "node:net";
import { hostname } from "node:os";
import { join } from "node:path";
import type { Clock } from "../../core/clock.ts";
import type { PemPair } from "./issue.ts";
import { assertCertificatePair } from "./pair.ts";

export interface ServerCertificate extends PemPair {
  /** What clients trust for `sslmode=verify-full`; undefined when the operator brought the certificate. */
  readonly caFile: string | undefined;
}

export interface GeneratedOptions {
  /** Created if missing. Holds `ca.crt`, `ca.key`, `server.crt`, `server.key`. */
  readonly dir: string;
  /** Host names and IP addresses clients use, beside this machine's own. */
  readonly names: readonly string[];
  readonly clock: Pick<Clock, "wallMs">;
}

const renewBeforeMs = 30 * 86_400_000;

/**
 * Reuses what the folder holds; makes what is missing, near its expiry, or made for other names.
 * @throws Error when a name is none (naming the setting), or when the CA's certificate is there but its key is not usable and a new server certificate is needed.
 */
export async function ensureCertificates({ dir, names, clock }: GeneratedOptions): Promise<ServerCertificate> {
  await mkdir(dir, { recursive: true, mode: 0o700 });
  const wanted = subjectNames(names);
  const nowMs = clock.wallMs();
  const caFile = join(dir, "ca.crt");
  const caPem = await readIfThere(caFile);
  if (caPem !== undefined) {
    const current = { certPem: await readIfThere(join(dir, "server.crt")), keyPem: await readIfThere(join(dir, "server.key")) };
    if (isGood(current, caPem, wanted, nowMs)) return { ...current, caFile };
  }
  const { issueCa, issueServer } = await loadIssuer();
  const ca = caPem === undefined ? await keep(dir, "ca", await issueCa(hostname(), nowMs)) : await loadCa(dir, caPem);
  const server = await keep(dir, "server", await issueServer(ca, wanted, nowMs));
  return { ...server, caFile };
}

/** The operator's certificate. @throws Error naming the setting at fault. */
export async function loadCertificates(files: { readonly certFile: string; readonly keyFile: string }): Promise<ServerCertificate> {
  const certPem = await readSetting("tls.cert_file", files.certFile);
  const keyPem = await readSetting("tls.key_file", files.keyFile);
  try {
    assertCertificatePair(certPem, keyPem);
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`tls.cert_file ${files.certFile} and tls.key_file ${files.keyFile} cannot be used: ${reason}`, { cause: error });
  }
  return { certPem, keyPem, caFile: undefined };
}

/** One after the other: Bun runs a package's CommonJS before the modules imported above it. */
async function loadIssuer(): Promise<typeof import("./issue.ts")> {
  await import("./reflect-metadata.ts");
  return await import("./issue.ts");
}

const hostPattern = /^(\*\.)?[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63}){0,20}$/;

/** localhost first, as it is the subject too; each name once. This machine's own name counts only if clients can use it. */
function subjectNames(names: readonly string[]): string[] {
  const isUsable = (name: string) => isIP(name) !== 0 || hostPattern.test(name);
  const wanted = names.map((name) => name.toLowerCase());
  const bad = wanted.find((name) => !isUsable(name));
  if (bad !== undefined) throw new Error(`public_host or tls.names: "${bad}" is neither a host name nor an IP address`);
  return [...new Set(["localhost", "127.0.0.1", "::1", ...[hostname().toLowerCase()].filter(isUsable), ...wanted])];
}

function isGood(
  current: { readonly certPem: string | undefined; readonly keyPem: string | undefined },
  caPem: string,
  wanted: readonly string[],
  nowMs: number,
): current is PemPair {
  if (current.certPem === undefined || current.keyPem === undefined) return false;
  try {
    assertCertificatePair(current.certPem, current.keyPem);
    const certificate = new X509Certificate(current.certPem);
    const isCurrent = Date.parse(certificate.validFrom) <= nowMs && Date.parse(certificate.validTo) - nowMs > renewBeforeMs;
    return isCurrent && certificate.verify(new X509Certificate(caPem).publicKey) && carriesExactly(certificate, wanted);
  } catch {
    // Not readable as a certificate and key of this CA: a new pair takes its place.
    return false;
  }
}

/** `subjectAltName` reads `DNS:localhost, IP Address:127.0.0.1`; addresses are left to checkIP, as IPv6 has many spellings. */
function carriesExactly(certificate: X509Certificate, wanted: readonly string[]): boolean {
  const entries = (certificate.subjectAltName ?? "").split(", ");
  const carries = (name: string) => (isIP(name) === 0 ? entries.includes(`DNS:${name}`) : certificate.checkIP(name) !== undefined);
  return entries.length === wanted.length && wanted.every(carries);
}

async function loadCa(dir: string, certPem: string): Promise<PemPair> {
  const keyPem = await readIfThere(join(dir, "ca.key"));
  try {
    if (keyPem === undefined) throw new Error("the key is missing");
    assertCertificatePair(certPem, keyPem);
    return { certPem, keyPem };
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(
      `Cannot make a server certificate with the CA in ${dir}: ${reason}. Restore ca.key, or remove ca.crt to make a new CA, which clients then have to trust.`,
      { cause: error },
    );
  }
}

/** Keys first: a certificate that is there has its key there, whenever the process dies. */
async function keep(dir: string, name: string, pair: PemPair): Promise<PemPair> {
  await replaceFile(join(dir, `${name}.key`), pair.keyPem, 0o600);
  await replaceFile(join(dir, `${name}.crt`), pair.certPem, 0o644);
  return pair;
}

async function replaceFile(path: string, text: string, mode: number): Promise<void> {
  const next = `${path}.new`;
  await writeFile(next, text, { mode });
  // A file left over from a crash keeps its old mode.
  await chmod(next, mode);
  await rename(next, path);
}

async function readIfThere(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

async function readSetting(setting: string, path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    throw new Error(`${setting}: cannot read ${path} (${(error as NodeJS.ErrnoException).code ?? "unknown error"})`, { cause: error });
  }
}
