/** Runs the command line in this process against an API without sockets, with its own home folder. */
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach } from "vitest";
import type { CliHost } from "../../../api/cli/host.ts";
import { runCli } from "../../../api/cli/program.ts";
import type { ApiDeps } from "../../../api/context.ts";
import { makeWorld, type World } from "./world.ts";

export interface CliRun {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

export interface ProgramRun {
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Record<string, string>;
}

export interface Cli {
  readonly world: World;
  readonly home: string;
  readonly programs: ProgramRun[];
  /** Called at each sleep of the command line. */
  onSleep: () => Promise<unknown>;
  run(
    args: readonly string[],
    options?: { env?: Record<string, string>; secret?: string; input?: string; isTTY?: boolean; hasInput?: boolean },
  ): Promise<CliRun>;
  readConfig(): Promise<Record<string, unknown>>;
  configMode(): Promise<number>;
  /** As the gateway's first start leaves it. */
  writeLocalCredentials(changes?: object): Promise<void>;
}

const homes: string[] = [];
afterEach(async () => {
  for (const home of homes.splice(0)) await rm(home, { recursive: true });
});

export async function makeCli(options: Partial<ApiDeps> = {}): Promise<Cli> {
  const world = await makeWorld(options);
  const home = await mkdtemp(join(tmpdir(), "tdb-cli-"));
  homes.push(home);
  const programs: ProgramRun[] = [];
  const path = join(home, ".tenantsdb.json");
  const cli: Cli = {
    world,
    home,
    programs,
    onSleep: async () => {},
    async run(args, { env = { TDB_API_KEY: world.key }, secret, input = "", isTTY = false, hasInput = input !== "" } = {}) {
      const written = { out: "", err: "" };
      const writer = (to: "out" | "err") => ({
        isTTY,
        write(text: string) {
          written[to] += text;
        },
      });
      const host: CliHost = {
        env,
        cwd: home,
        homeDir: home,
        stdout: writer("out"),
        stderr: writer("err"),
        fetch: (async (url: string | URL | Request, init?: RequestInit) => {
          const target = new URL(String(url));
          if (target.port === "1") throw new TypeError("fetch failed");
          return world.app.request(target.href, init, { remoteAddress: "127.0.0.1" });
        }) as typeof fetch,
        hasInput,
        readInput: async () => input,
        readSecret: async () => secret,
        async run(command, programArgs, programEnv) {
          programs.push({ command, args: programArgs, env: programEnv });
          return 0;
        },
        sleep: async () => void (await cli.onSleep()),
      };
      return { code: await runCli(args, host), ...written };
    },
    readConfig: async () => JSON.parse(await readFile(path, "utf8")),
    configMode: async () => (await stat(path)).mode & 0o777,
    async writeLocalCredentials(changes = {}) {
      await mkdir(join(home, ".tdb"), { recursive: true });
      const credentials = {
        project_id: world.projectId,
        api_key: world.key,
        proxy_password: "tdb_0123456789abcdef",
        api_url: "http://127.0.0.1:9876",
      };
      await writeFile(join(home, ".tdb", "credentials.json"), JSON.stringify({ ...credentials, ca_file: null, ...changes }));
    },
  };
  return cli;
}
