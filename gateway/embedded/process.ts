/** Asking about processes of this machine: alive or not, which one, as whom. */
import { execFile } from "node:child_process";
import { readFile, readlink } from "node:fs/promises";
import { promisify } from "node:util";

const run = promisify(execFile);

/** True for a process that runs. One that ended and was never reaped (state Z) counts as gone, although signals still reach it. */
export async function isAlive(pid: number): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
  const stat = await readStat(pid);
  return stat === undefined || (stat.state !== "Z" && stat.state !== "X");
}

/** When the process began, in a form only good for comparing; undefined where the system does not tell. Sets apart two processes given one number. */
export async function startMark(pid: number): Promise<string | undefined> {
  const stat = await readStat(pid);
  if (!stat) return undefined;
  const boot = await readFile("/proc/sys/kernel/random/boot_id", "utf8").catch(() => "");
  return `${boot.trim()}/${stat.startTicks}`;
}

/** True when `pid` is a PostgreSQL server whose data directory is `dataDir`: a server's working directory is its data directory. */
export async function isServerOf(pid: number, dataDir: string): Promise<boolean> {
  if (process.platform === "linux") {
    const cwd = await readlink(`/proc/${pid}/cwd`).catch(() => undefined);
    return cwd === dataDir;
  }
  const listing = await run("ps", ["-o", "command=", "-p", String(pid)]).catch(() => undefined);
  return listing?.stdout.includes(dataDir) ?? false;
}

export interface OsUser {
  readonly uid: number;
  readonly gid: number;
}

/** @returns undefined when there is no such user. */
export async function findOsUser(name: string): Promise<OsUser | undefined> {
  try {
    const [uid, gid] = await Promise.all([run("id", ["-u", name]), run("id", ["-g", name])]);
    return { uid: Number.parseInt(uid.stdout, 10), gid: Number.parseInt(gid.stdout, 10) };
  } catch {
    return undefined;
  }
}

/** Adds a system user without a login. @throws Error when the system has no useradd or refuses. */
export async function createOsUser(name: string): Promise<OsUser> {
  await run("useradd", ["--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", name]);
  const user = await findOsUser(name);
  if (!user) throw new Error(`the user ${name} was added but cannot be found`);
  return user;
}

/** State letter and start time of /proc/<pid>/stat; the command name before them may hold spaces and parentheses. */
async function readStat(pid: number): Promise<{ state: string; startTicks: string } | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return { state: fields[0] ?? "", startTicks: fields[19] ?? "" };
}
