/** Which processes another one has begun, and whether they still run: read from Linux's /proc (proc(5)). */
import { readdir, readFile } from "node:fs/promises";

/** State and parent of a process; undefined once it is gone. */
async function look(pid: number): Promise<{ state: string; parent: number } | undefined> {
  const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  if (text === undefined) return undefined;
  // The name in parentheses may itself hold spaces and parentheses.
  const [state, parent] = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return { state: state!, parent: Number(parent) };
}

/** Process ids of those that `parent` has begun. */
export async function childrenOf(parent: number): Promise<number[]> {
  const pids = (await readdir("/proc")).map(Number).filter((pid) => pid > 0);
  const found = await Promise.all(pids.map(async (pid) => ((await look(pid))?.parent === parent ? [pid] : [])));
  return found.flat();
}

/** A process that has ended and is only kept for its parent to ask about does not run: its sockets are closed. */
export async function isRunning(pid: number): Promise<boolean> {
  const found = await look(pid);
  return found !== undefined && found.state !== "Z" && found.state !== "X";
}
