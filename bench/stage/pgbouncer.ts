/** PgBouncer with SCRAM: what the gateway is compared to. Its backends come over the same Unix socket, unless told otherwise. */
import { chown, writeFile } from "node:fs/promises";
import { join } from "node:path";
import pg from "pg";
import { makePrivateDir } from "../../gateway/embedded/directories.ts";
import type { OsUser } from "../../gateway/embedded/process.ts";
import { writeCertificate } from "./certificates.ts";
import { runProgram, startChild, waitFor } from "./children.ts";
import type { Contender } from "./contender.ts";
import type { PoolMode } from "./gateway.ts";
import { freePort, type PostgresServer } from "./postgres.ts";

export const tcpBouncer = "pgbouncer-tcp";

export interface PgBouncer {
  readonly contender: Contender;
  stop(): Promise<void>;
}

export interface PgBouncerOptions {
  readonly dir: string;
  readonly server: PostgresServer;
  readonly direct: Contender;
  /** Other databases it is to know, each with a user of its own. */
  readonly more?: readonly Contender[];
  readonly user: OsUser | undefined;
  readonly poolMode: PoolMode;
  readonly program: string;
  /** The installed one; the same with TCP to the server instead of its Unix socket; or another, known by its version. */
  readonly kind: "installed" | "tcp" | "other";
}

export async function startPgBouncer(options: PgBouncerOptions): Promise<PgBouncer> {
  const { dir, server, direct, user, program } = options;
  const version = await readVersion(program);
  const name = { installed: "pgbouncer", tcp: tcpBouncer, other: `pgbouncer-${version}` }[options.kind];
  const home = join(dir, name);
  await makePrivateDir(home, user);
  const port = await freePort();
  const { certFile, keyFile } = await writeCertificate(home, user);
  const userFile = join(home, "users.txt");
  const configFile = join(home, "pgbouncer.ini");
  // The verifier the server itself holds: PgBouncer then logs in with the client's own key and needs no password.
  const users = await Promise.all([direct, ...(options.more ?? [])].map(async ({ user }) => `"${user}" "${await readVerifier(server, user)}"\n`));
  await writeFile(userFile, users.join(""));
  const keepsStatements = options.poolMode === "transaction" && isAtLeast(version, 1, 21);
  await writeFile(configFile, configuration({ ...options, port, certFile, keyFile, userFile, keepsStatements }));
  if (user) for (const file of [userFile, configFile]) await chown(file, user.uid, user.gid);
  const child = startChild(name, program, ["-q", configFile], { user, stopSignal: "SIGINT" });
  const contender = { ...direct, name, port, pid: child.pid };
  await waitFor(child, () => tryLogin(contender));
  return { contender, stop: () => child.stop(5000) };
}

/** @returns undefined where PgBouncer is not installed. */
export async function findPgBouncer(): Promise<string | undefined> {
  for (const program of ["pgbouncer", "/usr/sbin/pgbouncer"]) {
    const version = await runProgram(program, ["--version"]).catch(() => undefined);
    if (version !== undefined) return program;
  }
  return undefined;
}

/** As in `PgBouncer 1.18.0`. @throws Error when the program cannot be run or is another. */
async function readVersion(program: string): Promise<string> {
  const version = /^PgBouncer (\d+\.\d+\S*)/i.exec(await runProgram(program, ["--version"]))?.[1];
  if (version === undefined) throw new Error(`${program} is no PgBouncer`);
  return version;
}

function isAtLeast(version: string, major: number, minor: number): boolean {
  const [hasMajor = 0, hasMinor = 0] = version.split(".").map(Number);
  return hasMajor > major || (hasMajor === major && hasMinor >= minor);
}

async function readVerifier(server: PostgresServer, role: string): Promise<string> {
  const client = await server.connect("postgres");
  try {
    const { rows } = await client.query<{ rolpassword: string }>("SELECT rolpassword FROM pg_catalog.pg_authid WHERE rolname = $1", [role]);
    return rows[0]!.rolpassword;
  } finally {
    await client.end();
  }
}

interface ConfigurationInput extends PgBouncerOptions {
  readonly port: number;
  readonly certFile: string;
  readonly keyFile: string;
  readonly userFile: string;
  /** Follows named prepared statements from backend to backend. */
  readonly keepsStatements: boolean;
}

function configuration(input: ConfigurationInput): string {
  const host = input.kind === "tcp" ? "127.0.0.1" : input.server.socketDir;
  const databases = [input.direct, ...(input.more ?? [])].map(
    ({ database }) => `${database} = host=${host} port=${input.server.port} dbname=${database}\n`,
  );
  return `[databases]
${databases.join("")}[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${input.port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = ${input.userFile}
pool_mode = ${input.poolMode}
${input.keepsStatements ? "max_prepared_statements = 200\n" : ""}max_client_conn = 12000
default_pool_size = 1100
client_tls_sslmode = allow
client_tls_cert_file = ${input.certFile}
client_tls_key_file = ${input.keyFile}
ignore_startup_parameters = extra_float_digits
log_connections = 0
log_disconnections = 0
`;
}

async function tryLogin(contender: Contender): Promise<true | undefined> {
  const { host, port, user, password, database } = contender;
  const client = new pg.Client({ host, port, user, password, database });
  client.on("error", () => undefined); // told to connect() as well
  try {
    await client.connect();
    return true;
  } catch {
    return undefined;
  } finally {
    await client.end().catch(() => undefined);
  }
}
