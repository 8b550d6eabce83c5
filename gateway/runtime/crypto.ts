/** Crypto on node:crypto, which all three runtimes have; PBKDF2 can be replaced where another way is faster. */

import { createHash, createHmac, hash, pbkdf2, randomBytes, timingSafeEqual } from "node:crypto";
import type { Crypto } from "../../core/crypto.ts";
import type { StreamHash } from "../../core/dumper.ts";

export const nodeCrypto: Crypto = {
  sha256: (data) => hash("sha256", data, "buffer"),
  hmacSha256: (key, data) => createHmac("sha256", key).update(data).digest(),
  pbkdf2Sha256: (password, salt, iterations) =>
    new Promise((resolve, reject) => {
      pbkdf2(password, salt, iterations, 32, "sha256", (error, key) => (error ? reject(error) : resolve(key)));
    }),
  randomBytes: (length) => randomBytes(length),
  equal: (a, b) => a.length === b.length && timingSafeEqual(a, b),
};

/** SHA-256 of more than fits into memory. */
export function makeStreamHash(): StreamHash {
  const hash = createHash("sha256");
  return { update: (bytes) => void hash.update(bytes), digest: () => hash.digest("hex") };
}

/** PBKDF2 by WebCrypto: on Deno a third of the time node:crypto takes. */
export async function webPbkdf2Sha256(password: Uint8Array, salt: Uint8Array, iterations: number): Promise<Uint8Array> {
  const key = await crypto.subtle.importKey("raw", ownBytes(password), "PBKDF2", false, ["deriveBits"]);
  return new Uint8Array(await crypto.subtle.deriveBits({ name: "PBKDF2", hash: "SHA-256", salt: ownBytes(salt), iterations }, key, 256));
}

/** WebCrypto's types want memory that is surely not shared. */
function ownBytes(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return new Uint8Array(bytes);
}
