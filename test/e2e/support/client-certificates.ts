/** Authorities and the clients' certificates they issue, for tests. */
import "../../../gateway/tls/reflect-metadata.ts";
import { BasicConstraintsExtension, ExtendedKeyUsageExtension, PemConverter, X509Certificate, X509CertificateGenerator } from "@peculiar/x509";
import { issueCa, type PemPair } from "../../../gateway/tls/issue.ts";

const keyAlgorithm = { name: "ECDSA", namedCurve: "P-256" } as const;
const purposes = { client: "1.3.6.1.5.5.7.3.2", server: "1.3.6.1.5.5.7.3.1" } as const;

export function makeAuthority(name: string): Promise<PemPair> {
  return issueCa(name, Date.now());
}

export async function issueClient(
  authority: PemPair,
  name: string,
  more: { readonly expired?: boolean; readonly purpose?: keyof typeof purposes } = {},
): Promise<PemPair> {
  const keys = await crypto.subtle.generateKey(keyAlgorithm, true, ["sign", "verify"]);
  const day = 86_400_000;
  const certificate = await X509CertificateGenerator.create({
    serialNumber: "4711",
    subject: `CN=${name}`,
    issuer: new X509Certificate(authority.certPem).subjectName,
    notBefore: new Date(Date.now() - 10 * day),
    notAfter: new Date(Date.now() + (more.expired ? -day : day)),
    publicKey: keys.publicKey,
    signingKey: await crypto.subtle.importKey("pkcs8", PemConverter.decodeFirst(authority.keyPem), keyAlgorithm, false, ["sign"]),
    signingAlgorithm: { name: "ECDSA", hash: "SHA-256" },
    extensions: [new BasicConstraintsExtension(false), new ExtendedKeyUsageExtension([purposes[more.purpose ?? "client"]])],
  });
  const keyPem = PemConverter.encode(await crypto.subtle.exportKey("pkcs8", keys.privateKey), PemConverter.PrivateKeyTag);
  return { certPem: `${certificate.toString("pem")}\n`, keyPem: `${keyPem}\n` };
}
