/** MySQL's clients as programs. Each is given: host, port, user, CA file, then attempts `password TAB database TAB tls|plain TAB statement`; it prints a line for each. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { type Finished, launcherOf, type RuntimeUnderTest, run } from "../../e2e/support/gateway.ts";

const here = import.meta.dirname;

export interface Server {
  readonly port: number;
  readonly user: string;
  readonly caFile: string;
}

export interface Attempt {
  readonly password: string;
  /** "" for none. */
  readonly database: string;
  readonly tls?: boolean;
  readonly sql?: string;
}

export interface MysqlClient {
  readonly name: string;
  /** What the user sees of an error packet. */
  shown(code: number, state: string, text: string): string;
  /** Makes it ready. @returns why it cannot be run here, if so. */
  prepare(): Promise<string | undefined>;
  /** @returns for each attempt the first column, joined by commas, or what the user sees of the error. */
  run(server: Server, attempts: readonly Attempt[]): Promise<string[]>;
}

const bare = (_code: number, _state: string, text: string) => text;

function toArguments({ port, user, caFile }: Server, attempts: readonly Attempt[]): string[] {
  const lines = attempts.map(({ password, database, tls = true, sql = "SELECT 1" }) => [password, database, tls ? "tls" : "plain", sql].join("\t"));
  return ["localhost", String(port), user, caFile, ...lines];
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

function mysql2(runtime: RuntimeUnderTest, label: string): MysqlClient {
  const [command, ...launcher] = launcherOf(runtime);
  const flags = launcher.slice(0, -1);
  return {
    name: `mysql2 (${label})`,
    shown: bare,
    prepare: async () => undefined,
    run: async (server, attempts) => toLines(await run(command, [...flags, join(here, "probe.ts"), ...toArguments(server, attempts)]), attempts),
  };
}

const mariadb: MysqlClient = {
  name: "mariadb CLI",
  shown: (code, state, text) => `ERROR ${code} (${state}): ${text}`,
  prepare: () => missing("mariadb", "--version"),
  async run({ port, user, caFile }, attempts) {
    const seen: string[] = [];
    for (const { password, database, tls = true, sql = "SELECT 1" } of attempts) {
      const security = tls ? [`--ssl-ca=${caFile}`, "--ssl-verify-server-cert"] : ["--skip-ssl"];
      const args = ["--no-defaults", "--protocol=tcp", "-h", "localhost", "-P", String(port), "-u", user, ...security, "--batch", "-N", "-e", sql];
      const done = await run("mariadb", database === "" ? args : [...args, database], { MYSQL_PWD: password });
      // For a statement it shows the statement again, and the line of its input.
      const error = lastLine(done.stderr).replace(" at line 1:", ":");
      seen.push(error || done.stdout.trim().replaceAll("\n", ","));
    }
    return seen;
  },
};

const pymysql: MysqlClient = {
  name: "PyMySQL",
  shown: (code, _state, text) => `(${code}, '${text}')`,
  prepare: () => missing("python3", "-c", "import pymysql"),
  run: async (server, attempts) => toLines(await run("python3", [join(here, "probe.py"), ...toArguments(server, attempts)]), attempts),
};

/** Programs built once are found again. */
async function makeDir(name: string): Promise<string> {
  const dir = join(here, "../../../node_modules/.cache/mysql-drivers", name);
  await mkdir(dir, { recursive: true });
  return dir;
}

function goSqlDriver(): MysqlClient {
  let program = "";
  return {
    name: "go-sql-driver",
    shown: (code, state, text) => `Error ${code} (${state}): ${text}`,
    async prepare() {
      const noGo = await missing("go", "version");
      if (noGo) return noGo;
      program = join(await makeDir("go"), "probe");
      const built = await run("go", ["build", "-C", here, "-o", program, "."]);
      return built.code === 0 ? undefined : `it cannot be built: ${lastLine(built.stderr)}`;
    },
    run: async (server, attempts) => toLines(await run(program, toArguments(server, attempts)), attempts),
  };
}

const connector = "com.mysql:mysql-connector-j:9.4.0";

function connectorJ(): MysqlClient {
  let classPath = "";
  return {
    name: "Connector/J",
    shown: bare,
    async prepare() {
      const noJava = (await missing("javac", "-version")) ?? (await missing("mvn", "-version"));
      if (noJava) return noJava;
      const dir = await makeDir("java");
      const fetched = await run("mvn", ["-q", "dependency:copy", `-Dartifact=${connector}`, `-DoutputDirectory=${dir}`, "-Dmdep.stripVersion=true"]);
      if (fetched.code !== 0) return `${connector} cannot be had: ${lastLine(fetched.stdout)}`;
      const compiled = await run("javac", ["-d", dir, join(here, "Probe.java")]);
      classPath = `${dir}/mysql-connector-j.jar:${dir}`;
      return compiled.code === 0 ? undefined : lastLine(compiled.stderr);
    },
    run: async (server, attempts) => toLines(await run("java", ["-cp", classPath, "Probe", ...toArguments(server, attempts)]), attempts),
  };
}

function lastLine(text: string): string {
  return text.trim().split("\n").at(-1) ?? "";
}

export const mysqlClients: readonly MysqlClient[] = [
  mysql2("node", "Node"),
  mysql2("deno", "Deno"),
  mysql2("bun", "Bun"),
  mariadb,
  pymysql,
  goSqlDriver(),
  connectorJ(),
];
