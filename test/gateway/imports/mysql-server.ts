/** MariaDB on a data directory and port of its own, where the machine has it. */
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { chown, mkdir, mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { createConnection } from "mysql2/promise";

const run = promisify(execFile);
const daemon = ["/usr/sbin/mariadbd", "/usr/libexec/mariadbd", "/usr/local/sbin/mariadbd"].find(existsSync);

/** Why tests with it cannot run here; undefined when they can. */
export const mysqlMissing: string | undefined = daemon === undefined ? "mariadbd is not installed (Debian: mariadb-server)" : undefined;

export interface MysqlServer {
  readonly port: number;
  /** Statements one after another in a fresh database. @returns its name */
  makeDatabase(statements: readonly string[]): Promise<string>;
  query(database: string, text: string): Promise<Record<string, unknown>[]>;
  stop(): Promise<void>;
}

export const mysqlUser = { user: "reader", password: "s'ecret" };

export async function startMysql(): Promise<MysqlServer> {
  const dir = await mkdtemp(join(tmpdir(), "tdb-mysql-"));
  const data = join(dir, "data");
  await mkdir(data);
  const isRoot = process.getuid?.() === 0;
  const asUser = isRoot ? ["--user=mysql"] : [];
  if (isRoot) {
    const [uid, gid] = await Promise.all(["-u", "-g"].map(async (flag) => Number((await run("id", [flag, "mysql"])).stdout)));
    for (const path of [dir, data]) await chown(path, uid!, gid!);
  }
  await run("mariadb-install-db", ["--no-defaults", ...asUser, `--datadir=${data}`, "--auth-root-authentication-method=normal", "--skip-test-db"]);
  const port = await freePort();
  const socket = join(dir, "s");
  const flags = ["--no-defaults", ...asUser, `--datadir=${data}`, `--port=${port}`, `--socket=${socket}`, "--bind-address=127.0.0.1"];
  const child = spawn(daemon!, [...flags, "--innodb-flush-log-at-trx-commit=0", "--skip-log-bin"], { stdio: ["ignore", "ignore", "pipe"] });
  await untilReady(child);
  const root = await createConnection({ socketPath: socket, user: "root", multipleStatements: true });
  await root.query(`CREATE USER reader@'%' IDENTIFIED BY 's''ecret'; GRANT SELECT ON *.* TO reader@'%'`);
  let databases = 0;
  return {
    port,
    async makeDatabase(statements) {
      const name = `shared_${++databases}`;
      await root.query(`CREATE DATABASE ${name} CHARACTER SET utf8mb4; USE ${name}`);
      for (const statement of statements) await root.query(statement);
      return name;
    },
    async query(database, text) {
      await root.query(`USE ${database}`);
      return (await root.query(text))[0] as Record<string, unknown>[];
    },
    async stop() {
      await root.end();
      const ended = new Promise((resolve) => child.on("close", resolve));
      child.kill("SIGTERM");
      await ended;
      await rm(dir, { recursive: true, force: true });
    },
  };
}

function untilReady(child: ChildProcess): Promise<void> {
  return new Promise((ready, failed) => {
    let said = "";
    child.stderr?.on("data", (chunk) => {
      said += chunk;
      if (said.includes("ready for connections")) ready();
    });
    child.on("close", (code) => failed(new Error(`mariadbd ended with ${code}\n${said}`)));
  });
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.on("listening", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}
