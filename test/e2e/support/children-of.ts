/** Which processes another one has begun: read from Linux's /proc (proc(5)). */
import { readdir, readFile } from "node:fs/promises";
import { parseStat } from "../../../bench/stage/usage.ts";

/** Their process ids, of those too that have ended and were not asked about yet. */
export async function childrenOf(parent: number): Promise<number[]> {
  const pids = (await readdir("/proc")).map(Number).filter((pid) => pid > 0);
  const isChild = async (pid: number) => {
    const text = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined); // it may have ended meanwhile
    return text !== undefined && parseStat(text).parent === parent;
  };
  const found = await Promise.all(pids.map(async (pid) => ((await isChild(pid)) ? [pid] : [])));
  return found.flat();
}
