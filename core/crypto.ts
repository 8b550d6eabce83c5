/** The few primitives authentication needs, synchronous because one login makes dozens of tiny calls; given by the runtime. */

export interface Crypto {
  sha256(data: Uint8Array): Uint8Array;
  hmacSha256(key: Uint8Array, data: Uint8Array): Uint8Array;
  /** PBKDF2-HMAC-SHA-256 of 32 bytes, off the event loop. */
  pbkdf2Sha256(password: Uint8Array, salt: Uint8Array, iterations: number): Promise<Uint8Array>;
  /** Cryptographically secure. */
  randomBytes(length: number): Uint8Array;
  /** Constant time for equal lengths; false for unequal ones. */
  equal(a: Uint8Array, b: Uint8Array): boolean;
}
