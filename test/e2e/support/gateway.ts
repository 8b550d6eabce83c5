/** A gateway as a user starts it: `tdb up` in a process of its own, under one of the runtimes, on free ports and a data directory of its own. */
import { type ChildProcess, spawn } from "node:child_process";
import { chmod, mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type pg from "pg";
import { removeServerOf, serverOf } from "./server-under-test.ts";

export type RuntimeUnderTest = "node" | "deno" | "bun" | OlderNode;
/** Installed by the files that run under them. */
export type OlderNode = "node-20" | "node-22" | "node-24";

const root = resolve(import.meta.dirname, "../../..");
const bin = (name: string) => join(root, "node_modules/.bin", name);

/** How each runtime runs the launcher. */
export const launchers: Record<Exclude<RuntimeUnderTest, OlderNode>, readonly [string, ...string[]]> & {
  [older in OlderNode]?: readonly [string, ...string[]];
} = {
  node: [bin("node"), "bin/tdb.js"],
  deno: [bin("deno"), "run", "--allow-all", "bin/tdb.js"],
  bun: [bin("bun"), "bin/tdb.js"],
};

export function launcherOf(runtime: RuntimeUnderTest): readonly [string, ...string[]] {
  const launcher = launchers[runtime];
  if (!launcher) throw new Error(`${runtime} is not installed`);
  return launcher;
}

export interface Credentials {
  readonly project_id: string;
  readonly api_key: string;
  readonly proxy_password: string;
  readonly api_url: string;
  readonly ca_file: string;
  readonly pg_host: string;
  readonly pg_port: number;
}

export interface GatewayProcess {
  readonly credentials: Credentials;
  readonly dataDir: string;
  /** How to log in as superuser of a server that is not embedded. */
  readonly superuser: pg.ClientConfig | undefined;
  readonly pid: number;
  /** Everything it printed so far. */
  output(): string;
  errors(): string;
  /** Sends a signal and waits for the end. @returns the exit code. @throws Error when it does not end. */
  stop(signal?: "SIGTERM" | "SIGINT" | "SIGKILL"): Promise<number | null>;
  signal(signal: NodeJS.Signals): void;
  /** The exit code, once it has ended. */
  readonly ended: Promise<number | null>;
  /** Stops it and removes its data. */
  dispose(): Promise<void>;
}

export interface StartOptions {
  readonly runtime: RuntimeUnderTest;
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Default: a new one. */
  readonly dataDir?: string;
}

export async function makeDataDir(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "tdb-e2e-"));
  await chmod(dir, 0o711); // the embedded server may run as another user, which must pass through
  return join(dir, "data");
}

export async function removeDataDir(dataDir: string): Promise<void> {
  await removeServerOf(dataDir);
  await rm(join(dataDir, ".."), { recursive: true, force: true });
}

/** Any free port for PostgreSQL and the API, the other listeners off, unless `args` ask for them; a later flag wins. */
const defaultPorts = ["--pg-port=0", "--api-port=0", "--mysql-port=-1", "--mongo-port=-1", "--redis-port=-1"];

/** Any free port for each listener. */
export const anyPorts: readonly string[] = ["pg", "mysql", "mongo", "redis", "api"].flatMap((name) => [`--${name}-port`, "0"]);

/** @throws Error with what it printed, when it ends before it is up. */
export async function startGateway(options: StartOptions): Promise<GatewayProcess> {
  const dataDir = options.dataDir ?? (await makeDataDir());
  const server = await serverOf(dataDir);
  const child = spawnTdb(options.runtime, ["up", ...defaultPorts, "--data-dir", dataDir, ...server.flags, ...(options.args ?? [])], options.env);
  let output = "";
  let errors = "";
  child.stderr?.on("data", (chunk) => {
    errors += chunk;
  });
  const ended = new Promise<number | null>((done) => child.on("close", done));
  await new Promise<void>((isUp, failed) => {
    child.stdout?.on("data", (chunk) => {
      output += chunk;
      if (/^Tenantry is up[\s\S]*CA file.*\n/m.test(output)) isUp();
    });
    void ended.then((code) => failed(new Error(`tdb up ended with ${code}\n${output}${errors}`)));
  });
  const credentials = JSON.parse(await readFile(join(dataDir, "credentials.json"), "utf8")) as Credentials;
  const stop = async (signal: NodeJS.Signals = "SIGTERM") => {
    if (child.exitCode === null) child.kill(signal);
    let hangs: NodeJS.Timeout | undefined;
    const patience = new Promise<never>((_, failed) => {
      hangs = setTimeout(() => {
        child.kill("SIGKILL");
        failed(new Error(`tdb up did not end\n${output}${errors}`));
      }, 50_000);
    });
    try {
      return await Promise.race([ended, patience]);
    } finally {
      clearTimeout(hangs);
    }
  };
  return {
    credentials,
    dataDir,
    superuser: server.superuser,
    pid: child.pid as number,
    output: () => output,
    errors: () => errors,
    stop,
    ended,
    signal: (signal) => void child.kill(signal),
    async dispose() {
      await stop();
      await removeDataDir(dataDir);
    },
  };
}

/** `tdb` with these arguments, as a process. */
export function spawnTdb(runtime: RuntimeUnderTest, args: readonly string[], env: Readonly<Record<string, string>> = {}): ChildProcess {
  const [command, ...rest] = launcherOf(runtime);
  return spawn(command, [...rest, ...args], { cwd: root, env: { ...process.env, NO_COLOR: "1", ...env }, stdio: ["ignore", "pipe", "pipe"] });
}

export interface Finished {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command to its end. */
export function run(command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Finished> {
  return collect(spawn(command, args, { cwd: root, env: { ...process.env, ...env }, stdio: ["pipe", "pipe", "pipe"] }));
}

/** Runs `tdb` to its end. */
export function tdb(runtime: RuntimeUnderTest, args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Finished> {
  return collect(spawnTdb(runtime, args, env));
}

/** Everything a process prints, once it has ended. */
export function collect(child: ChildProcess, input?: string): Promise<Finished> {
  let stdout = "";
  let stderr = "";
  child.stdout?.on("data", (chunk) => {
    stdout += chunk;
  });
  child.stderr?.on("data", (chunk) => {
    stderr += chunk;
  });
  child.stdin?.on("error", () => undefined); // one that ends before it has read: its exit code tells
  child.stdin?.end(input ?? "");
  return new Promise((done, failed) => {
    child.on("error", failed);
    child.on("close", (code) => done({ code, stdout, stderr }));
  });
}
