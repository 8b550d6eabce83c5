/** `tdb` in this process against a gateway in another: a command costs a request, not a runtime's start. What the launcher adds is asked of a process. */
import { spawn } from "node:child_process";
import type { CliHost } from "../../../api/cli/host.ts";
import { runCli } from "../../../api/cli/program.ts";
import { collect, type Finished } from "./gateway.ts";

/** Runs one command line that knows nothing but `env`, whose HOME is also the folder it runs in. */
export async function tdbHere(args: readonly string[], env: Readonly<Record<string, string>> & { readonly HOME: string }): Promise<Finished> {
  const printed = { stdout: "", stderr: "" };
  const writer = (to: "stdout" | "stderr") => ({
    isTTY: false,
    write(text: string) {
      printed[to] += text;
    },
  });
  const host: CliHost = {
    env,
    cwd: env.HOME,
    homeDir: env.HOME,
    stdout: writer("stdout"),
    stderr: writer("stderr"),
    fetch,
    hasInput: false,
    readInput: async () => "",
    readSecret: async () => undefined,
    async run(command, programArgs, programEnv) {
      const own = { PATH: process.env.PATH ?? "", LC_ALL: "C.UTF-8", ...programEnv };
      const { code, stdout, stderr } = await collect(spawn(command, [...programArgs], { env: own, stdio: ["ignore", "pipe", "pipe"] }));
      printed.stdout += stdout;
      printed.stderr += stderr;
      return code ?? 1;
    },
    sleep: (ms) => new Promise((done) => setTimeout(done, ms)),
  };
  const code = await runCli(args, host);
  return { code, ...printed };
}
