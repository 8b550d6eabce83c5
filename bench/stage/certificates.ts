/** One throw-away certificate for PostgreSQL and PgBouncer, made the way the gateway makes its own, so that all do the same work. */
import { chown, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { systemClock } from "../../core/clock.ts";
import type { OsUser } from "../../gateway/embedded/process.ts";
import { ensureCertificates } from "../../gateway/tls/certificates.ts";

export interface CertificateFiles {
  readonly certFile: string;
  readonly keyFile: string;
}

export async function writeCertificate(dir: string, owner: OsUser | undefined): Promise<CertificateFiles> {
  const made = await ensureCertificates({ dir: join(dir, "ca"), names: [], clock: systemClock });
  const files = { certFile: join(dir, "server.crt"), keyFile: join(dir, "server.key") };
  await writeFile(files.certFile, made.certPem, { mode: 0o600 });
  await writeFile(files.keyFile, made.keyPem, { mode: 0o600 });
  if (owner) for (const file of [files.certFile, files.keyFile]) await chown(file, owner.uid, owner.gid);
  return files;
}
