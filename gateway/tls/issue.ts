/** Makes certificates: the local CA and the server certificates it signs (ECDSA P-256, SHA-256). Loaded by `certificates.ts`, only when one has to be made. */

import { isIP } from "node:net";
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsage,
  ExtendedKeyUsageExtension,
  type Extension,
  KeyUsageFlags,
  KeyUsagesExtension,
  PemConverter,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from "@peculiar/x509";

export interface PemPair {
  readonly certPem: string;
  readonly keyPem: string;
}

const dayMs = 86_400_000;
/** Clients whose clocks are a little behind must not find a certificate from the future. */
const backdateMs = 3_600_000;
const caDays = 3650;
/** The longest life some TLS stacks accept of a server certificate. */
const serverDays = 825;

const keyAlgorithm = { name: "ECDSA", namedCurve: "P-256" } as const;
const signingAlgorithm = { name: "ECDSA", hash: "SHA-256" } as const;

/** The day is in the subject, so that people can tell an old CA of a machine from its new one. */
export async function issueCa(hostName: string, nowMs: number): Promise<PemPair> {
  const keys = await newKeys();
  const name = distinguishedName(`Tenantry local CA ${hostName} ${new Date(nowMs).toISOString().slice(0, 10)}`);
  const certificate = await X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: name,
    issuer: name,
    ...validity(nowMs, caDays),
    publicKey: keys.publicKey,
    signingKey: keys.privateKey,
    signingAlgorithm,
    extensions: [
      new BasicConstraintsExtension(true, 0, true),
      new KeyUsagesExtension(KeyUsageFlags.keyCertSign | KeyUsageFlags.cRLSign, true),
      await SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return pemPair(certificate, keys.privateKey);
}

/** `names` are host names and IP addresses; the first one is also the subject. */
export async function issueServer(ca: PemPair, names: readonly string[], nowMs: number): Promise<PemPair> {
  const keys = await newKeys();
  const issuer = new X509Certificate(ca.certPem);
  const certificate = await X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: distinguishedName(names[0] ?? "localhost"),
    issuer: issuer.subjectName,
    ...validity(nowMs, serverDays),
    publicKey: keys.publicKey,
    signingKey: await importKey(ca.keyPem),
    signingAlgorithm,
    extensions: await serverExtensions(issuer, keys.publicKey, names),
  });
  return pemPair(certificate, keys.privateKey);
}

async function serverExtensions(issuer: X509Certificate, publicKey: CryptoKey, names: readonly string[]): Promise<Extension[]> {
  return [
    new BasicConstraintsExtension(false, undefined, true),
    new KeyUsagesExtension(KeyUsageFlags.digitalSignature, true),
    new ExtendedKeyUsageExtension([ExtendedKeyUsage.serverAuth]),
    new SubjectAlternativeNameExtension(names.map((value) => ({ type: isIP(value) === 0 ? ("dns" as const) : ("ip" as const), value }))),
    await SubjectKeyIdentifierExtension.create(publicKey),
    await AuthorityKeyIdentifierExtension.create(await issuer.publicKey.export()),
  ];
}

function newKeys(): Promise<CryptoKeyPair> {
  return crypto.subtle.generateKey(keyAlgorithm, true, ["sign", "verify"]);
}

function importKey(keyPem: string): Promise<CryptoKey> {
  return crypto.subtle.importKey("pkcs8", PemConverter.decodeFirst(keyPem), keyAlgorithm, false, ["sign"]);
}

async function pemPair(certificate: X509Certificate, key: CryptoKey): Promise<PemPair> {
  const keyPem = PemConverter.encode(await crypto.subtle.exportKey("pkcs8", key), PemConverter.PrivateKeyTag);
  return { certPem: `${certificate.toString("pem")}\n`, keyPem: `${keyPem}\n` };
}

function validity(nowMs: number, days: number): { notBefore: Date; notAfter: Date } {
  return { notBefore: new Date(nowMs - backdateMs), notAfter: new Date(nowMs + days * dayMs - backdateMs) };
}

/** RFC 5280 section 4.1.2.2: positive, at most 20 bytes, not guessable. */
function serialNumber(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[0] = (bytes[0]! & 0x7f) | 0x40;
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** As structure, not as text: host names are not parsed as one. RFC 5280 caps a common name at 64 characters. */
function distinguishedName(commonName: string): { CN: string[] }[] {
  return [{ CN: [commonName.slice(0, 64)] }];
}
