/** A redis-server of a test's own, which can be stopped, held and started again on the same port. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:net";

/** Where it is missing, tests that need one are skipped, visibly. */
export const hasRedis = spawnSync("redis-server", ["--version"]).status === 0;

export interface RedisProcess {
  readonly url: string;
  start(): Promise<void>;
  kill(): Promise<void>;
  /** It keeps its connections and answers nothing, until `release`. */
  hold(): void;
  release(): void;
}

export async function startRedis(): Promise<RedisProcess> {
  const port = await freePort();
  let child: ChildProcess | undefined;
  const redis: RedisProcess = {
    url: `redis://127.0.0.1:${port}`,
    async start() {
      const started = spawn("redis-server", ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"], {
        stdio: ["ignore", "pipe", "ignore"],
      });
      child = started;
      let said = "";
      await new Promise<void>((ready, failed) => {
        started.stdout.on("data", (chunk) => {
          said += chunk;
          if (said.includes("Ready to accept connections")) ready();
        });
        started.once("exit", () => failed(new Error(`redis-server ended\n${said}`)));
      });
    },
    async kill() {
      if (!child || child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGKILL");
      await once(child, "exit");
    },
    hold: () => void child?.kill("SIGSTOP"),
    release: () => void child?.kill("SIGCONT"),
  };
  await redis.start();
  return redis;
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, "close");
  return port;
}
