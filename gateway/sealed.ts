/** Secrets the gateway must be able to read again, as the store keeps them: AES-256-GCM under a key of its own, so that any instance may, and nobody else. */
import { fromBase64, type Secrets, toBase64 } from "../core/secrets.ts";

const nonceBytes = 12;

/** Of the look-up key, which stays when the master key is rotated. */
async function keyOf(secrets: Secrets, purpose: string): Promise<CryptoKey> {
  const raw = Uint8Array.from(secrets.lookupHash(purpose).match(/../g)!, (hex) => Number.parseInt(hex, 16));
  return await crypto.subtle.importKey("raw", raw, "AES-GCM", false, ["encrypt", "decrypt"]);
}

/** What a sealed text is for, and the row it belongs to: it is of no use anywhere else. */
export interface SealedFor {
  readonly purpose: "import connections" | "cluster connections";
  readonly id: string;
}

export async function seal(secrets: Secrets, { purpose, id }: SealedFor, value: unknown): Promise<string> {
  const iv = crypto.getRandomValues(new Uint8Array(nonceBytes));
  const additionalData = new TextEncoder().encode(id);
  const text = new TextEncoder().encode(JSON.stringify(value));
  const sealed = await crypto.subtle.encrypt({ name: "AES-GCM", iv, additionalData }, await keyOf(secrets, purpose), text);
  return toBase64(new Uint8Array([...iv, ...new Uint8Array(sealed)]));
}

/** @throws Error when it was sealed under another master key, for another purpose or another row. */
export async function unseal(secrets: Secrets, { purpose, id }: SealedFor, sealed: string): Promise<unknown> {
  const bytes = fromBase64(sealed);
  if (!bytes) throw new Error("a sealed secret is not base64");
  const iv = new Uint8Array(bytes.subarray(0, nonceBytes));
  const additionalData = new TextEncoder().encode(id);
  const box = new Uint8Array(bytes.subarray(nonceBytes));
  const text = await crypto.subtle.decrypt({ name: "AES-GCM", iv, additionalData }, await keyOf(secrets, purpose), box);
  return JSON.parse(new TextDecoder().decode(text));
}
