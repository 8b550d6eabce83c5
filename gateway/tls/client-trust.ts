/** Client certificates of a project: PEM certificates it trusts, and whether one that a client showed is among them or issued by one of them. */
import { X509Certificate } from "node:crypto";

const pemBlock = /-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]{1,16000}-----END CERTIFICATE-----/g;
const maxCertificates = 20;
/** id-kp-clientAuth, RFC 5280 section 4.2.1.12. */
const clientAuth = "1.3.6.1.5.5.7.3.2";

export interface TrustedCertificate {
  readonly subject: string;
  /** SHA-256 of the certificate, hex. */
  readonly fingerprint: string;
  readonly isAuthority: boolean;
  /** Milliseconds since 1970. */
  readonly expiresAt: number;
  readonly pem: string;
}

/** @throws Error in plain words: none in it, too many, not certificates, a private key among them. */
export function readTrusted(text: string): TrustedCertificate[] {
  if (/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(text)) throw new Error("must hold certificates only, not a private key");
  const blocks = text.match(pemBlock) ?? [];
  if (blocks.length === 0) throw new Error("must hold at least one certificate in PEM");
  if (blocks.length > maxCertificates) throw new Error(`must hold at most ${maxCertificates} certificates`);
  return blocks.map((pem) => {
    try {
      const certificate = new X509Certificate(pem);
      return {
        subject: certificate.subject.replaceAll("\n", ", "),
        fingerprint: fingerprintOf(certificate),
        isAuthority: certificate.ca,
        expiresAt: Date.parse(certificate.validTo),
        pem,
      };
    } catch {
      throw new Error("one of the certificates cannot be read");
    }
  });
}

/**
 * Whether `shown` (DER) is one of the trusted certificates, or was issued by an authority among them; within its time in either case.
 * That the client has its private key, TLS has proven.
 */
export async function isTrusted(trustedPem: string, shown: Uint8Array, wallMs: number): Promise<boolean> {
  try {
    const certificate = new X509Certificate(shown);
    if (!isInTime(certificate, wallMs)) return false;
    const trusted = (trustedPem.match(pemBlock) ?? []).map((pem) => new X509Certificate(pem));
    if (trusted.some((each) => fingerprintOf(each) === fingerprintOf(certificate))) return true;
    const isIssued = trusted.some((each) => each.ca && isInTime(each, wallMs) && certificate.checkIssued(each) && certificate.verify(each.publicKey));
    return isIssued && (await isForClients(shown));
  } catch {
    return false; // a certificate that cannot be read is nobody's
  }
}

/** Extended key usage, where there is any, must name clients: an authority may issue certificates for servers too. Not every runtime reads it by itself. */
async function isForClients(der: Uint8Array): Promise<boolean> {
  await import("./reflect-metadata.ts");
  const { ExtendedKeyUsageExtension, X509Certificate: Parsed } = await import("@peculiar/x509");
  const usage = new Parsed(new Uint8Array(der)).getExtension(ExtendedKeyUsageExtension);
  return usage === null || usage.usages.includes(clientAuth);
}

function isInTime(certificate: X509Certificate, wallMs: number): boolean {
  return Date.parse(certificate.validFrom) <= wallMs && wallMs <= Date.parse(certificate.validTo);
}

function fingerprintOf(certificate: X509Certificate): string {
  return certificate.fingerprint256.replaceAll(":", "").toLowerCase();
}
