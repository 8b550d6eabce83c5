/** Account passwords: PBKDF2-SHA-256 with a salt each, kept as `pbkdf2-sha256$iterations$salt$hash`. */
import type { Crypto } from "../../core/crypto.ts";
import { fromBase64, toBase64 } from "../../core/secrets.ts";

const scheme = "pbkdf2-sha256";
const encoder = new TextEncoder();

export async function hashPassword(crypto: Crypto, password: string, iterations: number): Promise<string> {
  const salt = crypto.randomBytes(16);
  const hash = await crypto.pbkdf2Sha256(encoder.encode(password.normalize("NFKC")), salt, iterations);
  return [scheme, iterations, toBase64(salt), toBase64(hash)].join("$");
}

/** Takes as long for any hash of the same iterations, right or wrong. */
export async function verifyPassword(crypto: Crypto, password: string, stored: string): Promise<boolean> {
  const [kind, iterations, salt, hash] = stored.split("$");
  const saltBytes = fromBase64(salt ?? "");
  const hashBytes = fromBase64(hash ?? "");
  if (kind !== scheme || !saltBytes || !hashBytes) throw new Error("a stored password hash is not in a form this version knows");
  const made = await crypto.pbkdf2Sha256(encoder.encode(password.normalize("NFKC")), saltBytes, Number(iterations));
  return crypto.equal(made, hashBytes);
}

/** A hash no password has, for e-mails nobody has: checking it takes the time a real check takes. */
export function makeDummyHash(crypto: Crypto, iterations: number): string {
  return [scheme, iterations, toBase64(crypto.randomBytes(16)), toBase64(crypto.randomBytes(32))].join("$");
}
