/** The `tls-server-end-point` channel binding of a certificate (RFC 5929 section 4.1), read from its DER on every runtime alike. */

import { createHash, X509Certificate } from "node:crypto";

/** Signature algorithm OID, as hex of its DER body → hash. MD5 and SHA-1 count as SHA-256, as the RFC says. */
const signatureHashes: Record<string, string | undefined> = {
  "2a864886f70d010104": "sha256", // md5WithRSAEncryption
  "2a864886f70d010105": "sha256", // sha1WithRSAEncryption
  "2a864886f70d01010b": "sha256",
  "2a864886f70d01010c": "sha384",
  "2a864886f70d01010d": "sha512",
  "2a864886f70d01010e": "sha224",
  "2a8648ce3d0401": "sha256", // ecdsa-with-SHA1
  "2a8648ce3d040301": "sha224",
  "2a8648ce3d040302": "sha256",
  "2a8648ce3d040303": "sha384",
  "2a8648ce3d040304": "sha512",
};

const rsaPss = "2a864886f70d01010a";

const digests: Record<string, string | undefined> = {
  "2b0e03021a": "sha256", // SHA-1
  "608648016503040201": "sha256",
  "608648016503040202": "sha384",
  "608648016503040203": "sha512",
  "608648016503040204": "sha224",
};

/** @returns undefined when the signature has no single hash (Ed25519): channel binding is then not defined. `certPem` may be a chain; its first certificate counts. */
export function serverEndPoint(certPem: string): Uint8Array | undefined {
  const der = new X509Certificate(certPem).raw;
  const hash = signatureHash(der);
  return hash === undefined ? undefined : new Uint8Array(createHash(hash).update(der).digest());
}

interface DerValue {
  readonly tag: number;
  readonly start: number;
  readonly end: number;
}

/** Certificate ::= SEQUENCE { tbsCertificate SEQUENCE, signatureAlgorithm SEQUENCE { OID, parameters }, signature }. */
export function signatureHash(der: Uint8Array): string | undefined {
  const certificate = readDer(der, 0);
  const body = readDer(der, certificate.start);
  const algorithm = readDer(der, body.end);
  const oid = readDer(der, algorithm.start);
  const name = hex(der, oid);
  return name === rsaPss ? pssHash(der, oid.end, algorithm.end) : signatureHashes[name];
}

/** RSASSA-PSS-params ::= SEQUENCE { [0] { SEQUENCE { OID hash } } DEFAULT sha1, … }. */
function pssHash(der: Uint8Array, at: number, end: number): string | undefined {
  if (at >= end) return "sha256";
  const parameters = readDer(der, at);
  if (parameters.start >= parameters.end) return "sha256";
  const first = readDer(der, parameters.start);
  if (first.tag !== 0xa0) return "sha256";
  const algorithm = readDer(der, first.start);
  return digests[hex(der, readDer(der, algorithm.start))];
}

/** Reads one tag and length. @throws RangeError when it runs past the end. */
function readDer(der: Uint8Array, at: number): DerValue {
  const tag = der[at];
  const first = der[at + 1];
  if (tag === undefined || first === undefined) throw new RangeError("the certificate's DER ends too early");
  let start = at + 2;
  let length = first;
  if (first >= 0x80) {
    length = 0;
    for (let left = first & 0x7f; left > 0; left--) length = length * 256 + (der[start++] ?? 0);
  }
  if (start + length > der.length) throw new RangeError("the certificate's DER ends too early");
  return { tag, start, end: start + length };
}

function hex(der: Uint8Array, value: DerValue): string {
  let text = "";
  for (let i = value.start; i < value.end; i++) text += (der[i] ?? 0).toString(16).padStart(2, "0");
  return text;
}
