/** Redis's clients as programs. Each is given: port, CA file, then attempts `user TAB password TAB tls|plain`; it prints a line for each. */
import { join } from "node:path";
import { type Finished, launcherOf, type RuntimeUnderTest, run } from "../../e2e/support/gateway.ts";

const here = import.meta.dirname;

export interface Server {
  readonly port: number;
  readonly caFile: string;
}

export interface Attempt {
  /** "" for AUTH with a password alone. */
  readonly user: string;
  readonly password: string;
  readonly tls?: boolean;
}

/** What the user is shown of a server's error: its first word, and what follows. */
export interface RedisClient {
  readonly name: string;
  /** In answer to GET, after a log-in that went well. */
  shown(code: string, text: string): string;
  /** For a log-in that failed. */
  shownAtLogin(code: string, text: string): string;
  /** Makes it ready. @returns why it cannot be run here, if so. */
  prepare(): Promise<string | undefined>;
  /** @returns for each attempt what the user sees of the error of `GET a`. */
  run(server: Server, attempts: readonly Attempt[]): Promise<string[]>;
}

const whole = (code: string, text: string) => `${code} ${text}`;

function toArguments({ port, caFile }: Server, attempts: readonly Attempt[]): string[] {
  return [String(port), caFile, ...attempts.map(({ user, password, tls = true }) => [user, password, tls ? "tls" : "plain"].join("\t"))];
}

/** One line for each attempt. @throws Error when there are fewer or more. */
function toLines(done: Finished, attempts: readonly Attempt[]): string[] {
  const lines = done.stdout.split("\n").slice(0, -1);
  if (lines.length !== attempts.length) throw new Error(`${lines.length} answers to ${attempts.length} attempts\n${done.stdout}${done.stderr}`);
  return lines;
}

async function missing(command: string, ...args: string[]): Promise<string | undefined> {
  const done = await run(command, args).catch(() => undefined);
  return done?.code === 0 ? undefined : `\`${[command, ...args].join(" ")}\` does not work here`;
}

function ioredis(runtime: RuntimeUnderTest, label: string): RedisClient {
  const [command, ...launcher] = launcherOf(runtime);
  const flags = launcher.slice(0, -1);
  return {
    name: `ioredis (${label})`,
    shown: whole,
    shownAtLogin: whole,
    prepare: async () => undefined,
    run: async (server, attempts) => toLines(await run(command, [...flags, join(here, "probe.ts"), ...toArguments(server, attempts)]), attempts),
  };
}

const nodeRedis: RedisClient = {
  name: "node-redis",
  shown: whole,
  // It never gives up by itself; the probe ends it at the first error it tells.
  shownAtLogin: whole,
  prepare: async () =>
    (await missing(launcherOf("node")[0], "--input-type=module", "-e", 'import "redis"')) && "the npm package `redis` is not installed",
  run: async (server, attempts) =>
    toLines(await run(launcherOf("node")[0], [join(here, "probe-node-redis.mjs"), ...toArguments(server, attempts)]), attempts),
};

const redisPy: RedisClient = {
  name: "redis-py",
  // It knows these by their first word, which it takes off.
  shown: (_code, text) => text,
  shownAtLogin: (_code, text) => text,
  prepare: () => missing("python3", "-c", "import redis"),
  run: async (server, attempts) => toLines(await run("python3", [join(here, "probe.py"), ...toArguments(server, attempts)]), attempts),
};

const redisCli: RedisClient = {
  name: "redis-cli",
  shown: whole,
  shownAtLogin: (code, text) => `AUTH failed: ${code} ${text} / NOAUTH Authentication required.`,
  prepare: () => missing("redis-cli", "--version"),
  async run({ port, caFile }, attempts) {
    const seen: string[] = [];
    for (const { user, password, tls = true } of attempts) {
      const who = ["-h", "localhost", "-p", String(port), ...(user === "" ? [] : ["--user", user]), "-a", password, "--no-auth-warning"];
      const done = await run("redis-cli", [...who, ...(tls ? ["--tls", "--cacert", caFile] : []), "GET", "a"]);
      seen.push([done.stderr.trim(), done.stdout.trim()].filter((part) => part !== "").join(" / "));
    }
    return seen;
  },
};

export const redisClients: readonly RedisClient[] = [
  ioredis("node", "Node"),
  ioredis("deno", "Deno"),
  ioredis("bun", "Bun"),
  nodeRedis,
  redisPy,
  redisCli,
];
