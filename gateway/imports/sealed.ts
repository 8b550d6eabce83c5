/** A source's connection as the store keeps it: AES-256-GCM under a key of the gateway's own, so that any instance may carry on, and nobody else. */
import type { ImportConnection } from "../../core/imports.ts";
import { fromBase64, type Secrets, toBase64 } from "../../core/secrets.ts";

const nonceBytes = 12;

/** Of the look-up key, which stays when the master key is rotated. */
async function keyOf(secrets: Secrets): Promise<CryptoKey> {
  const raw = Uint8Array.from(secrets.lookupHash("import connections").match(/../g)!, (hex) => Number.parseInt(hex, 16));
  return await crypto.subtle.importKey("raw", raw, "AES-GCM", false, ["encrypt", "decrypt"]);
}

/** `importId` is bound in: a sealed connection is of no use in another row. */
export async function sealConnection(secrets: Secrets, importId: string, connection: ImportConnection): Promise<string> {
  const iv = crypto.getRandomValues(new Uint8Array(nonceBytes));
  const additionalData = new TextEncoder().encode(importId);
  const text = new TextEncoder().encode(JSON.stringify(connection));
  const sealed = await crypto.subtle.encrypt({ name: "AES-GCM", iv, additionalData }, await keyOf(secrets), text);
  return toBase64(new Uint8Array([...iv, ...new Uint8Array(sealed)]));
}

/** @throws Error when it was sealed under another master key or for another import. */
export async function openConnection(secrets: Secrets, importId: string, sealed: string): Promise<ImportConnection> {
  const bytes = fromBase64(sealed);
  if (!bytes) throw new Error("a sealed connection is not base64");
  const iv = new Uint8Array(bytes.subarray(0, nonceBytes));
  const additionalData = new TextEncoder().encode(importId);
  const text = await crypto.subtle.decrypt({ name: "AES-GCM", iv, additionalData }, await keyOf(secrets), new Uint8Array(bytes.subarray(nonceBytes)));
  return JSON.parse(new TextDecoder().decode(text)) as ImportConnection;
}

/** Without the password, for people. */
export function describeConnection({ engine, host, port, database }: ImportConnection): string {
  return `${engine} ${host.includes(":") ? `[${host}]` : host}:${port}/${database}`;
}
