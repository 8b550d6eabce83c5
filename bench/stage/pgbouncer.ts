/** PgBouncer in session mode with SCRAM: what the gateway is compared to. Its backends come over the same Unix socket. */
import { chown, writeFile } from "node:fs/promises";
import { join } from "node:path";
import pg from "pg";
import { makePrivateDir } from "../../gateway/embedded/directories.ts";
import type { OsUser } from "../../gateway/embedded/process.ts";
import { writeCertificate } from "./certificates.ts";
import { runProgram, startChild, waitFor } from "./children.ts";
import type { Contender } from "./contender.ts";
import { freePort, type PostgresServer } from "./postgres.ts";

export interface PgBouncer {
  readonly contender: Contender;
  stop(): Promise<void>;
}

/** @returns undefined where PgBouncer is not installed. */
export async function startPgBouncer(
  dir: string,
  server: PostgresServer,
  direct: Contender,
  user: OsUser | undefined,
): Promise<PgBouncer | undefined> {
  const program = await findProgram();
  if (program === undefined) return undefined;
  const home = join(dir, "pgbouncer");
  await makePrivateDir(home, user);
  const port = await freePort();
  const { certFile, keyFile } = await writeCertificate(home, user);
  const userFile = join(home, "users.txt");
  const configFile = join(home, "pgbouncer.ini");
  // The verifier the server itself holds: PgBouncer then logs in with the client's own key and needs no password.
  const verifier = await readVerifier(server, direct.user);
  await writeFile(userFile, `"${direct.user}" "${verifier}"\n`);
  await writeFile(configFile, configuration({ server, direct, port, certFile, keyFile, userFile }));
  if (user) for (const file of [userFile, configFile]) await chown(file, user.uid, user.gid);
  const child = startChild("PgBouncer", program, ["-q", configFile], { user, stopSignal: "SIGINT" });
  const contender = { ...direct, name: "pgbouncer", port, pid: child.pid };
  await waitFor(child, () => tryLogin(contender));
  return { contender, stop: () => child.stop(5000) };
}

async function findProgram(): Promise<string | undefined> {
  for (const program of ["pgbouncer", "/usr/sbin/pgbouncer"]) {
    const version = await runProgram(program, ["--version"]).catch(() => undefined);
    if (version !== undefined) return program;
  }
  return undefined;
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

function configuration(input: {
  server: PostgresServer;
  direct: Contender;
  port: number;
  certFile: string;
  keyFile: string;
  userFile: string;
}): string {
  return `[databases]
${input.direct.database} = host=${input.server.socketDir} port=${input.server.port} dbname=${input.direct.database}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${input.port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = ${input.userFile}
pool_mode = session
max_client_conn = 3000
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
