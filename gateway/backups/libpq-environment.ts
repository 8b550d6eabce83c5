/** How PostgreSQL's own programs reach a cluster: in their environment, which only their user can read, never among their arguments. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as tls from "node:tls";
import type { ClusterTarget } from "../sql-dialer.ts";

export interface LibpqEnvironment {
  readonly env: Readonly<Record<string, string>>;
  /** Removes what was written for it. */
  remove(): Promise<void>;
}

/** Nothing of the gateway's own environment, where secrets and PG* variables may be. */
export function bareEnvironment(): Record<string, string> {
  const { PATH } = process.env;
  return { LC_ALL: "C", TZ: "UTC", ...(PATH !== undefined && { PATH }) };
}

/**
 * The server, login and certificate checks of our own connections. The home is an empty folder: files of the user's own (`.pgpass`, `.postgresql/`) do
 * not have a say. @throws what the target's address does where it may not be dialled
 */
export async function libpqEnvironment(
  target: ClusterTarget,
  database: string,
  settings: Readonly<Record<string, string>>,
): Promise<LibpqEnvironment> {
  const address = target.socketDir === undefined ? await target.resolve?.() : undefined;
  const home = await mkdtemp(join(tmpdir(), "tdb-client-"));
  const remove = () => rm(home, { recursive: true, force: true });
  try {
    const env = {
      ...bareEnvironment(),
      HOME: home,
      PGHOST: target.socketDir ?? target.host ?? "localhost",
      ...(address !== undefined && { PGHOSTADDR: address }),
      PGPORT: String(target.port),
      PGUSER: target.user,
      PGPASSWORD: typeof target.password === "string" ? target.password : target.password(),
      PGDATABASE: database,
      PGAPPNAME: "tenantry",
      PGCONNECT_TIMEOUT: "10",
      PGGSSENCMODE: "disable",
      PGTZ: "UTC",
      PGOPTIONS: Object.entries(settings)
        .map(([name, value]) => `-c ${name}=${value}`)
        .join(" "),
      ...(await tlsVariables(target, home)),
    };
    return { env, remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

/** As the driver has it: without an authority of its own the system's, and a certificate that is checked is checked for its name too. */
async function tlsVariables({ socketDir, ssl }: ClusterTarget, home: string): Promise<Record<string, string>> {
  if (socketDir !== undefined || ssl === undefined || ssl === false) return { PGSSLMODE: "disable" };
  const options = ssl === true ? {} : ssl;
  if (options.rejectUnauthorized === false) return { PGSSLMODE: "require" };
  const authorities = [options.ca ?? systemAuthorities()].flat().map(String);
  const file = join(home, "root.crt");
  await writeFile(file, `${authorities.join("\n")}\n`, { mode: 0o600 });
  return { PGSSLMODE: "verify-full", PGSSLROOTCERT: file };
}

/** Node 20 and the other runtimes have only the list they bring. */
function systemAuthorities(): readonly string[] {
  return "getCACertificates" in tls && typeof tls.getCACertificates === "function" ? tls.getCACertificates("default") : tls.rootCertificates;
}
