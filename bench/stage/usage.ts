/** What a process and its children have used, as the Linux kernel counts it. */
import { readdir, readFile } from "node:fs/promises";

/** Kernel clock ticks a second; 100 on every Linux that matters (USER_HZ). */
const ticksPerS = 100;

export interface ProcessStat {
  readonly parent: number;
  /** User and system time, ended children that were waited for included. */
  readonly cpuMs: number;
}

/** Reads the text of /proc/<pid>/stat; the command name in it may hold spaces and parentheses. */
export function parseStat(text: string): ProcessStat {
  const fields = text
    .slice(text.lastIndexOf(")") + 2)
    .trim()
    .split(" ");
  const at = (index: number) => Number(fields[index]);
  return { parent: at(1), cpuMs: ((at(11) + at(12) + at(13) + at(14)) * 1000) / ticksPerS };
}

/** CPU time of `pid` and everything below it, in milliseconds. */
export async function cpuMs(pid: number): Promise<number> {
  const stats = await readTree(pid);
  return stats.reduce((sum, each) => sum + each.stat.cpuMs, 0);
}

/** Resident memory of `pid` and everything below it, in bytes. */
export async function residentBytes(pid: number): Promise<number> {
  const tree = await readTree(pid);
  const sizes = await Promise.all(tree.map(async (each) => parseResident(await readFile(`/proc/${each.pid}/status`, "utf8").catch(() => ""))));
  return sizes.reduce((sum, bytes) => sum + bytes, 0);
}

/** VmRSS of the text of /proc/<pid>/status. */
export function parseResident(text: string): number {
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(text)?.[1] ?? 0) * 1024;
}

async function readTree(root: number): Promise<{ pid: number; stat: ProcessStat }[]> {
  const pids = (await readdir("/proc")).filter((name) => /^\d+$/.test(name)).map(Number);
  const known = new Map<number, ProcessStat>();
  for (const pid of pids) {
    const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined); // it may have ended meanwhile
    if (text !== undefined) known.set(pid, parseStat(text));
  }
  const isBelow = (pid: number): boolean => {
    if (pid === root) return true;
    const parent = known.get(pid)?.parent ?? 0;
    return parent > 1 && isBelow(parent);
  };
  return [...known].filter(([pid]) => isBelow(pid)).map(([pid, stat]) => ({ pid, stat }));
}

/** Looks at a process's memory every few milliseconds until told to stop. @returns the most it had. */
export function watchResident(pid: number, everyMs = 50): () => Promise<number> {
  let most = 0;
  let stopped = false;
  const watching = (async () => {
    while (!stopped) {
      most = Math.max(most, parseResident(await readFile(`/proc/${pid}/status`, "utf8").catch(() => "")));
      await new Promise((done) => setTimeout(done, everyMs));
    }
  })();
  return async () => {
    stopped = true;
    await watching;
    return most;
  };
}
