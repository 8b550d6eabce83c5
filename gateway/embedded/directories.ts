/** The embedded server's folders: data, socket and log, each readable by the user it runs as and by nobody else. */
import { createHash } from "node:crypto";
import { chmod, chown, lstat, mkdir, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { StartupError } from "../startup-error.ts";
import { createOsUser, findOsUser, type OsUser } from "./process.ts";

/** sockaddr_un holds 104 bytes on macOS and BSD, 108 on Linux, with a final NUL; the server appends `/.s.PGSQL.65535.lock` at most. */
const maxSocketDirBytes = 80;

/** @returns undefined where the server runs as this process's own user; PostgreSQL refuses to run as root. */
export async function chooseServerUser(): Promise<OsUser | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const existing = await findOsUser("postgres");
  if (existing) return existing;
  try {
    return await createOsUser("postgres");
  } catch (cause) {
    throw new StartupError(
      "--database-url",
      "PostgreSQL does not run as root and a system user postgres could not be added; start tdb as another user, add the user, or give a server with --database-url",
      cause,
    );
  }
}

/** Makes the data directory when missing. @throws {StartupError} when it cannot be made, or the server's user could not reach into it. */
export async function prepareDataDir(dataDir: string, user: OsUser | undefined): Promise<void> {
  try {
    await mkdir(dataDir, { recursive: true, mode: user ? 0o711 : 0o700 });
  } catch (cause) {
    throw new StartupError("--data-dir", `cannot create the data directory "${dataDir}": ${(cause as Error).message}`, cause);
  }
  if (!user) return;
  const mode = (await stat(dataDir)).mode;
  // Search permission only: the server's user may pass through to its own folders and read nothing else.
  if ((mode & 0o001) === 0) await chmod(dataDir, mode | 0o011);
  await checkReachable(dataDir, user, "--data-dir", "the data directory");
}

/** @throws {StartupError} naming the first folder on the way that `user` cannot search. */
export async function checkReachable(path: string, user: OsUser, option: string, what: string): Promise<void> {
  const folders: string[] = [];
  for (let folder = path; ; folder = dirname(folder)) {
    folders.unshift(folder);
    if (dirname(folder) === folder) break;
  }
  for (const folder of folders) {
    const { uid, gid, mode } = await stat(folder);
    const searchable = uid === user.uid ? mode & 0o100 : gid === user.gid ? mode & 0o010 : mode & 0o001;
    if (searchable === 0) {
      throw new StartupError(
        option,
        `${what} "${path}" cannot be reached by the system user PostgreSQL runs as (uid ${user.uid}), because of the permissions of "${folder}"; ` +
          `run "chmod o+x ${folder}", or choose another place with ${option}`,
      );
    }
  }
}

/** A folder of mode 0700 that belongs to the server's user. */
export async function makePrivateDir(path: string, user: OsUser | undefined): Promise<void> {
  await mkdir(path, { recursive: true, mode: 0o700 });
  const found = await lstat(path);
  const uid = user?.uid ?? process.getuid?.() ?? found.uid;
  if (!found.isDirectory()) throw new StartupError("--data-dir", `"${path}" is not a directory`);
  // In a shared temporary folder somebody else may have made it first, to listen in our place.
  if (found.uid !== uid && found.uid !== process.getuid?.()) {
    throw new StartupError("--data-dir", `the directory "${path}" belongs to another user (uid ${found.uid}); remove it or set TMPDIR`);
  }
  if (user && found.uid !== user.uid) await chown(path, user.uid, user.gid);
  await chmod(path, 0o700);
}

/** Inside the data directory when its path is short enough for a socket address, in the temporary folder otherwise. */
export function chooseSocketDir(dataDir: string): string {
  const inside = join(dataDir, "socket");
  if (Buffer.byteLength(inside) <= maxSocketDirBytes) return inside;
  return join(tmpdir(), `tdb-${createHash("sha256").update(dataDir).digest("hex").slice(0, 16)}`);
}
