/** Processes the benchmark starts: each is known by its id, its output is kept, and none outlives the benchmark. */
import { type ChildProcess, spawn } from "node:child_process";

export interface Child {
  readonly name: string;
  readonly pid: number;
  /** What it has written so far, last part only. */
  output(): string;
  /** Undefined while it runs. */
  readonly exit: string | undefined;
  /** Asks it to end, and ends it after `graceMs`. May be called twice. */
  stop(graceMs?: number): Promise<void>;
}

export interface ChildOptions {
  readonly user?: { readonly uid: number; readonly gid: number } | undefined;
  readonly env?: NodeJS.ProcessEnv;
  /** What asks it to end; SIGTERM unless told. */
  readonly stopSignal?: NodeJS.Signals;
}

const running = new Set<ChildProcess>();
const keptOutput = 8000;

process.once("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

export function startChild(name: string, program: string, args: readonly string[], options: ChildOptions = {}): Child {
  const child = spawn(program, args, { ...options.user, cwd: "/", env: options.env ?? process.env, stdio: ["ignore", "pipe", "pipe"] });
  let said = "";
  let exit: string | undefined;
  const keep = (text: string) => {
    said = `${said}${text}`.slice(-keptOutput);
  };
  child.stdout.setEncoding("utf8").on("data", keep);
  child.stderr.setEncoding("utf8").on("data", keep);
  running.add(child);
  const ended = new Promise<void>((done) => {
    const finish = (how: string) => {
      exit ??= how;
      running.delete(child);
      done();
    };
    child.once("error", (error) => finish(error.message));
    child.once("exit", (code, signal) => finish(signal ? `signal ${signal}` : `exit code ${code}`));
  });
  return {
    name,
    pid: child.pid ?? 0,
    output: () => said,
    get exit() {
      return exit;
    },
    async stop(graceMs = 10_000) {
      child.kill(options.stopSignal ?? "SIGTERM");
      const late = setTimeout(() => child.kill("SIGKILL"), graceMs);
      await ended;
      clearTimeout(late);
    },
  };
}

/** Calls `probe` until it answers something. @throws Error with the child's last words when it ends first or `timeoutMs` pass. */
export async function waitFor<T>(child: Child, probe: () => Promise<T | undefined>, timeoutMs = 60_000): Promise<T> {
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const found = await probe();
    if (found !== undefined) return found;
    if (child.exit !== undefined) throw new Error(`${child.name} ended (${child.exit}): ${child.output().trim()}`);
    if (performance.now() > deadline) throw new Error(`${child.name} is not ready after ${timeoutMs} ms: ${child.output().trim()}`);
    await pause(30);
  }
}

/** Runs a program to its end. @returns its standard output. @throws Error with its standard error unless it ends well within `timeoutMs`. */
export function runProgram(program: string, args: readonly string[], options: ChildOptions & { readonly timeoutMs?: number } = {}): Promise<string> {
  return new Promise((done, fail) => {
    const child = spawn(program, args, { ...options.user, cwd: "/", env: options.env ?? process.env, stdio: ["ignore", "pipe", "pipe"] });
    running.add(child);
    let out = "";
    let err = "";
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      out += text;
    });
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      err = `${err}${text}`.slice(-keptOutput);
    });
    const late = setTimeout(() => child.kill("SIGKILL"), options.timeoutMs ?? 60_000);
    child.once("error", fail);
    child.once("close", (code, signal) => {
      clearTimeout(late);
      running.delete(child);
      if (code === 0) done(out);
      else fail(new Error(`${program} failed (${signal ?? code}): ${err.trim()}`));
    });
  });
}

export function pause(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}
