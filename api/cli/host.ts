/** What the command line needs of the process it runs in; tests give their own. */
import { spawn } from "node:child_process";
import { homedir } from "node:os";
import process from "node:process";

export interface Output {
  readonly isTTY: boolean;
  write(text: string): void;
}

export interface CliHost {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly homeDir: string;
  readonly stdout: Output;
  readonly stderr: Output;
  readonly fetch: typeof fetch;
  /** False on a terminal, where nobody has piped anything in. */
  readonly hasInput: boolean;
  /** Everything on standard input. */
  readInput(): Promise<string>;
  /** Asks on the terminal without showing what is typed; undefined where there is no terminal. */
  readSecret(prompt: string): Promise<string | undefined>;
  /** Runs a program on this terminal. @returns its exit code. */
  run(command: string, args: readonly string[], env: Record<string, string>): Promise<number>;
  sleep(ms: number): Promise<void>;
}

/** The process itself. */
export function processHost(): CliHost {
  return {
    env: process.env,
    cwd: process.cwd(),
    homeDir: homedir(),
    stdout: { isTTY: process.stdout.isTTY === true, write: (text) => void process.stdout.write(text) },
    stderr: { isTTY: process.stderr.isTTY === true, write: (text) => void process.stderr.write(text) },
    fetch,
    hasInput: process.stdin.isTTY !== true,
    readInput,
    readSecret,
    run: runProgram,
    sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
  };
}

async function readInput(): Promise<string> {
  let text = "";
  process.stdin.setEncoding("utf8");
  for await (const chunk of process.stdin) text += chunk;
  return text;
}

function runProgram(command: string, args: readonly string[], env: Record<string, string>): Promise<number> {
  return new Promise((resolve, reject) => {
    // Ctrl-C belongs to the program (psql cancels its query with it), so it must not end us.
    const ignore = () => {};
    process.on("SIGINT", ignore);
    const child = spawn(command, [...args], { stdio: "inherit", env: { ...process.env, ...env } });
    const done = () => process.off("SIGINT", ignore);
    child.once("error", (error) => {
      done();
      reject(error);
    });
    child.once("exit", (code) => {
      done();
      resolve(code ?? 1);
    });
  });
}

async function readSecret(prompt: string): Promise<string | undefined> {
  const input = process.stdin;
  if (!input.isTTY) return undefined;
  process.stderr.write(prompt);
  input.setRawMode(true);
  input.setEncoding("utf8");
  input.resume();
  try {
    return await new Promise<string>((resolve, reject) => {
      let typed = "";
      const onData = (text: string) => {
        for (const char of text) {
          if (char === "\r" || char === "\n" || char === "\u0004") {
            input.off("data", onData);
            return resolve(typed);
          }
          if (char === "\u0003") {
            input.off("data", onData);
            return reject(new Error("interrupted"));
          }
          typed = char === "\u007f" || char === "\b" ? typed.slice(0, -1) : typed + char;
        }
      };
      input.on("data", onData);
    });
  } finally {
    input.setRawMode(false);
    input.pause();
    process.stderr.write("\n");
  }
}
