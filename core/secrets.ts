/** Secrets: made, hashed, derived. The one master key stands behind everything that must be the same tomorrow. */
import type { Crypto } from "./crypto.ts";
import { type NativeRole, nativeRoleName, type PhysicalDatabase, type Verifier } from "./model.ts";

const encoder = new TextEncoder();

export function toHex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += byte.toString(16).padStart(2, "0");
  return text;
}

export function toBase64(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

/** @returns undefined for anything that is not canonical base64. */
export function fromBase64(text: string): Uint8Array | undefined {
  if (text.length % 4 !== 0 || !/^[A-Za-z0-9+/]*={0,2}$/.test(text)) return undefined;
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return toBase64(bytes) === text ? bytes : undefined;
}

/** StoredKey and ServerKey of a password (RFC 5802 section 3, SCRAM-SHA-256 of RFC 7677). */
export async function makeScramKeys(
  crypto: Crypto,
  password: string,
  salt: Uint8Array,
  iterations: number,
): Promise<{ clientKey: Uint8Array; storedKey: Uint8Array; serverKey: Uint8Array }> {
  const salted = await crypto.pbkdf2Sha256(encoder.encode(password), salt, iterations);
  const clientKey = crypto.hmacSha256(salted, encoder.encode("Client Key"));
  return { clientKey, storedKey: crypto.sha256(clientKey), serverKey: crypto.hmacSha256(salted, encoder.encode("Server Key")) };
}

/** Keyed derivations; `masterKey` is 32 random bytes kept outside the database. */
export class Secrets {
  readonly crypto: Crypto;
  #masterKey: Uint8Array;
  readonly #lookupKey: Uint8Array;

  /** `lookupKey`: what secrets are found by; the master key itself until that is rotated. */
  constructor(crypto: Crypto, masterKey: Uint8Array, lookupKey: Uint8Array = masterKey) {
    if (masterKey.length !== 32 || lookupKey.length !== 32) throw new RangeError("the master key must be 32 bytes");
    this.crypto = crypto;
    this.#masterKey = masterKey;
    this.#lookupKey = lookupKey;
  }

  /** From now on passwords are derived from another key. What secrets are found by stays. */
  rekey(masterKey: Uint8Array): void {
    if (masterKey.length !== 32) throw new RangeError("the master key must be 32 bytes");
    this.#masterKey = masterKey;
  }

  randomHex(bytes: number): string {
    return toHex(this.crypto.randomBytes(bytes));
  }

  makeApiKey(): string {
    return `tenantsdb_sk_${this.randomHex(32)}`;
  }

  makeProxyPassword(): string {
    return `tdb_${this.randomHex(8)}`;
  }

  /** What the store keeps to find a secret by: HMAC under the look-up key, hex. */
  lookupHash(secret: string): string {
    return toHex(this.crypto.hmacSha256(this.#lookupKey, encoder.encode(`lookup:${secret}`)));
  }

  /** A salt for a project that does not exist, always the same for one name, so that nobody can tell. */
  mockSalt(userName: string): Uint8Array {
    return this.crypto.hmacSha256(this.#lookupKey, encoder.encode(`mock-salt:${userName}`)).subarray(0, 16);
  }

  async makeVerifier(use: Verifier["use"], secret: string, project: { scramSalt: Uint8Array; scramIterations: number }): Promise<Verifier> {
    const keys = await makeScramKeys(this.crypto, secret, project.scramSalt, project.scramIterations);
    return { use, lookupHash: this.lookupHash(secret), storedKey: keys.storedKey, serverKey: keys.serverKey, validUntil: undefined };
  }

  /** The password of a native role: derived, so that nothing but the master key is kept. 64 hex digits. */
  nativeRolePassword(database: PhysicalDatabase, role: NativeRole): string {
    return toHex(this.derive(`native-role:${database.clusterId}:${nativeRoleName(database.name, role)}:${database.passwordGeneration}`));
  }

  /** The form CREATE ROLE … PASSWORD takes without ever seeing the password: `SCRAM-SHA-256$4096:salt$StoredKey:ServerKey`. */
  async nativeRoleVerifier(database: PhysicalDatabase, role: NativeRole): Promise<string> {
    const salt = this.derive(`native-salt:${database.clusterId}:${nativeRoleName(database.name, role)}:${database.passwordGeneration}`).subarray(
      0,
      16,
    );
    const keys = await makeScramKeys(this.crypto, this.nativeRolePassword(database, role), salt, 4096);
    return `SCRAM-SHA-256$4096:${toBase64(salt)}$${toBase64(keys.storedKey)}:${toBase64(keys.serverKey)}`;
  }

  derive(label: string): Uint8Array {
    return this.crypto.hmacSha256(this.#masterKey, encoder.encode(label));
  }
}
