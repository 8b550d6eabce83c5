/** A program's output as a stream, as slow as its reader: started, fed, watched and ended with node:child_process, which all three runtimes have. */
import { spawn } from "node:child_process";

export interface ProgramCall {
  readonly program: string;
  readonly args: readonly string[];
  /** All of its environment. */
  readonly env: Readonly<Record<string, string>>;
  /** Default: this process's own user. */
  readonly user?: { readonly uid: number; readonly gid: number } | undefined;
  /** Read to its end, even when the program wants no more. Nothing where left out. */
  readonly input?: AsyncIterable<Uint8Array> | undefined;
  readonly signal: AbortSignal;
}

/** The program did not start, or did not end well. */
export class ProgramFailure extends Error {
  /** The last of what it said, for reading only: it may name hosts and objects. */
  readonly said: string;
  /** `ENOENT`, a signal's name or an exit code. */
  readonly ending: string;

  constructor(program: string, ending: string, said: string, cause?: unknown) {
    super(`${program} ended with ${ending}`, { cause });
    this.ending = ending;
    this.said = said;
  }
}

const saidBytes = 8 * 1024;

/** None outlives this process, if it ends by itself. */
const running = new Set<() => void>();
process.once("exit", () => {
  for (const kill of running) kill();
});

/** Leaving early, or an abort, kills it. @throws {ProgramFailure}, the input's own error, or the signal's reason */
export async function* runProgram(call: ProgramCall): AsyncGenerator<Uint8Array, void, undefined> {
  call.signal.throwIfAborted();
  const child = spawn(call.program, call.args, {
    ...call.user,
    cwd: "/",
    // A session of its own: Ctrl+C in the terminal is for the gateway, which ends it when it stops.
    detached: true,
    stdio: [call.input ? "pipe" : "ignore", "pipe", "pipe"],
    env: { ...call.env },
  });
  let said = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    said = `${said}${text}`.slice(-saidBytes);
  });
  const ended = new Promise<{ ending: string; cause?: unknown }>((done) => {
    child.once("error", (cause) => done({ ending: (cause as NodeJS.ErrnoException).code ?? "an error", cause }));
    child.once("close", (code, signal) => done({ ending: signal ?? String(code) }));
  });
  const kill = () => void child.kill("SIGKILL");
  call.signal.addEventListener("abort", kill, { once: true });
  running.add(kill);
  const left = new AbortController();
  const feeding = call.input && child.stdin ? feed(call.input, child.stdin, left.signal, kill) : Promise.resolve(undefined);
  try {
    let broken: { error: unknown } | undefined;
    try {
      if (child.stdout) for await (const chunk of child.stdout) yield chunk as Uint8Array;
    } catch (error) {
      broken = { error }; // of a program that did not start: how it ended says more
    }
    const { ending, cause } = await ended;
    call.signal.throwIfAborted();
    const failed = await feeding;
    if (failed) throw failed.error;
    if (ending !== "0") throw new ProgramFailure(nameOf(call.program), ending, said, cause);
    if (broken) throw broken.error;
  } finally {
    left.abort();
    kill();
    call.signal.removeEventListener("abort", kill);
    running.delete(kill);
    await ended;
    await feeding;
  }
}

function nameOf(program: string): string {
  return program.slice(program.lastIndexOf("/") + 1);
}

/** Or is gone. */
function hasRoom(stdin: NodeJS.WritableStream): Promise<void> {
  return new Promise((done) => {
    const over = () => {
      for (const event of ["drain", "close"]) stdin.off(event, over);
      done();
    };
    for (const event of ["drain", "close"]) stdin.on(event, over);
  });
}

/** The input is read on when the program has gone, so that whoever sums it up sees all of it. @returns what the input failed with */
async function feed(
  input: AsyncIterable<Uint8Array>,
  stdin: NodeJS.WritableStream,
  left: AbortSignal,
  kill: () => void,
): Promise<{ error: unknown } | undefined> {
  let isGone = false;
  // It may end before its input does: how is told by its exit code.
  for (const event of ["error", "close"]) {
    stdin.on(event, () => {
      isGone = true;
    });
  }
  try {
    for await (const chunk of input) {
      if (left.aborted) return undefined;
      if (isGone || stdin.write(chunk)) continue;
      await hasRoom(stdin);
    }
    if (!isGone) stdin.end();
    return undefined;
  } catch (error) {
    kill();
    return { error };
  }
}
