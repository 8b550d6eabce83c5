/** Processes of this same program that talk with the one that started them: node:child_process, which all three runtimes have. */

import { type ChildProcess, fork, spawn } from "node:child_process";
import { availableParallelism } from "node:os";
import process from "node:process";
import { runtimeName } from "./runtime.ts";

/** The other end of a process's channel. Packets are plain JSON and arrive in order. */
export interface Peer {
  send(packet: unknown): void;
  onPacket(handle: (packet: unknown) => void): void;
  /** Called once, when the other process is gone. */
  onGone(handle: (how: string) => void): void;
}

export interface WorkerProcess extends Peer {
  readonly pid: number;
  /** At once. */
  kill(): void;
}

/** What this process was started with, and `args` behind it. Its standard error is ours. */
export async function startWorkerProcess(args: readonly string[]): Promise<WorkerProcess> {
  return wrap(await startChild(args));
}

/** The process that started this one as a worker. */
export interface ParentPeer extends Peer {
  /** Closes the channel, behind what was sent: nothing of it keeps this process any more. */
  close(): void;
}

/** Undefined when nobody started this one as a worker. */
export function parentPeer(): ParentPeer | undefined {
  if (!process.send) return undefined;
  return {
    close: () => {
      if (process.connected) process.disconnect?.();
    },
    send(packet) {
      // As in `wrap`: a channel that has just closed is told of by `onGone`.
      if (process.connected) process.send?.(packet, undefined, undefined, () => undefined);
    },
    onPacket: (handle) => void process.on("message", handle),
    onGone: (handle) => void process.once("disconnect", () => handle("disconnected")),
  };
}

/** Cores this process may use. */
export function countCores(): number {
  return availableParallelism();
}

async function startChild(args: readonly string[]): Promise<ChildProcess> {
  const script = process.argv[1];
  // A worker's standard output is nobody's answer.
  const stdio: ["ignore", "ignore", "inherit", "ipc"] = ["ignore", "ignore", "inherit", "ipc"];
  if (script === undefined || isStandalone(script)) return spawn(process.execPath, args, { stdio });
  if (!sharesPorts()) return await forkInCluster(script, args);
  return fork(script, args, { stdio });
}

/** `bun build --compile` and `deno compile`: the program is the executable, and its script lies inside. */
function isStandalone(script: string): boolean {
  const { Deno } = globalThis as { Deno?: { readonly build?: { readonly standalone?: boolean } } };
  return Deno?.build?.standalone === true || /^(\/|B:\/~)\$?(bunfs|BUN)\//.test(script.replaceAll("\\", "/"));
}

/** Whether `reusePort` works here: Node has it since 22.12; Deno and Bun always had. */
export function sharesPorts(): boolean {
  if (runtimeName() !== "node") return true;
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  return major > 22 || (major === 22 && minor >= 12);
}

/** In a cluster of Node's, what a worker listens on is accepted by the first process and handed over. */
async function forkInCluster(script: string, args: readonly string[]): Promise<ChildProcess> {
  const { default: cluster } = await import("node:cluster");
  cluster.setupPrimary({ exec: script, args: [...args], stdio: ["ignore", "ignore", "inherit", "ipc"] });
  return cluster.fork().process;
}

function wrap(child: ChildProcess): WorkerProcess {
  return {
    pid: child.pid ?? 0,
    send(packet) {
      // The callback takes the error of a channel that has just closed; `onGone` tells of it.
      if (child.connected) child.send(packet as object, () => undefined);
    },
    onPacket: (handle) => void child.on("message", handle),
    onGone(handle) {
      let told = false;
      const tell = (how: string) => {
        if (!told) handle(how);
        told = true;
      };
      child.once("exit", (code, signal) => tell(signal ?? `exit code ${code}`));
      child.once("error", (error) => tell(error.message));
    },
    kill: () => void child.kill("SIGKILL"),
  };
}
