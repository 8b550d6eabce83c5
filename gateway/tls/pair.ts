/** Whether a certificate and a private key parse and belong together: asked before any runtime's TLS sees them, as not all of them ask. */

import { createPrivateKey, X509Certificate } from "node:crypto";

/** @throws Error saying which of the two is wrong; never shows key material. */
export function assertCertificatePair(certPem: string, keyPem: string): void {
  const certificate = parse("the certificate is not valid PEM", () => new X509Certificate(certPem));
  const key = parse("the private key is not valid unencrypted PEM", () => createPrivateKey(keyPem));
  if (!certificate.checkPrivateKey(key)) throw new Error("the private key does not belong to the certificate");
}

function parse<T>(failure: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw new Error(failure, { cause: error });
  }
}
