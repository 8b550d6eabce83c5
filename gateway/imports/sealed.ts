/** A source's connection as the store keeps it until the import is done. */
import type { ImportConnection } from "../../core/imports.ts";
import type { Secrets } from "../../core/secrets.ts";
import { seal, unseal } from "../sealed.ts";

const purpose = "import connections";

export async function sealConnection(secrets: Secrets, importId: string, connection: ImportConnection): Promise<string> {
  return await seal(secrets, { purpose, id: importId }, connection);
}

/** @throws Error when it was sealed under another master key or for another import. */
export async function openConnection(secrets: Secrets, importId: string, sealed: string): Promise<ImportConnection> {
  return (await unseal(secrets, { purpose, id: importId }, sealed)) as ImportConnection;
}

/** Without the password, for people. */
export function describeConnection({ engine, host, port, database }: ImportConnection): string {
  return `${engine} ${host.includes(":") ? `[${host}]` : host}:${port}/${database}`;
}
