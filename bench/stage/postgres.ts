/** The one PostgreSQL server behind everything measured: the embedded one's programs, listening on TCP and on a Unix socket. */
import { chown, writeFile } from "node:fs/promises";
import { createServer } from "node:net";
import { join } from "node:path";
import pg from "pg";
import { findBinaries, type ServerBinaries } from "../../gateway/embedded/binaries.ts";
import { makePrivateDir } from "../../gateway/embedded/directories.ts";
import type { OsUser } from "../../gateway/embedded/process.ts";
import { writeCertificate } from "./certificates.ts";
import { type Child, runProgram, startChild, waitFor } from "./children.ts";

export interface PostgresServer {
  readonly port: number;
  readonly socketDir: string;
  readonly user: string;
  readonly password: string;
  /** As `--database-url` wants it, over the Unix socket. */
  url(database: string): string;
  /** A superuser's connection, over the Unix socket. */
  connect(database: string): Promise<pg.Client>;
  stop(): Promise<void>;
}

const superuser = "postgres";
const password = "bench-superuser";
export const maxConnections = 3000;

/** `dir` must be searchable by `user`; `binDir` is for other programs than the embedded ones. */
export async function startPostgres(dir: string, user: OsUser | undefined, binDir?: string): Promise<PostgresServer> {
  const binaries = await findBinaries(binDir);
  const dataDir = join(dir, "postgres");
  const socketDir = join(dir, "socket");
  await makePrivateDir(socketDir, user);
  await makePrivateDir(dataDir, user);
  await initialise(binaries, dir, dataDir, user);
  const port = await freePort();
  const { certFile, keyFile } = await writeCertificate(dir, user);
  const settings = {
    listen_addresses: "127.0.0.1",
    unix_socket_directories: socketDir,
    max_connections: String(maxConnections),
    ssl: "on",
    ssl_cert_file: certFile,
    ssl_key_file: keyFile,
    shared_buffers: "256MB",
    max_wal_size: "2GB",
    wal_level: "minimal",
    max_wal_senders: "0",
    // Nothing of its own accord while something is measured.
    autovacuum: "off",
    checkpoint_timeout: "1h",
  };
  const flags = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
  const child = startChild("PostgreSQL", binaries.postgres, ["-D", dataDir, "-p", String(port), ...flags], { user, stopSignal: "SIGINT" });
  const server = describe(child, port, socketDir);
  await waitFor(child, async () => {
    try {
      await (await server.connect("postgres")).end();
      return true;
    } catch {
      return undefined; // not ready yet; waitFor gives up in time
    }
  });
  return server;
}

function describe(child: Child, port: number, socketDir: string): PostgresServer {
  return {
    port,
    socketDir,
    user: superuser,
    password,
    url: (database) => `postgresql://${superuser}:${password}@localhost:${port}/${database}?host=${encodeURIComponent(socketDir)}`,
    async connect(database) {
      const client = new pg.Client({ host: socketDir, port, user: superuser, password, database });
      client.on("error", () => undefined); // told to whoever uses it
      await client.connect();
      return client;
    },
    stop: () => child.stop(30_000),
  };
}

async function initialise({ initdb, majorVersion }: ServerBinaries, dir: string, dataDir: string, user: OsUser | undefined): Promise<void> {
  const passwordFile = join(dir, "initdb.password");
  await writeFile(passwordFile, `${password}\n`, { mode: 0o600 });
  if (user) await chown(passwordFile, user.uid, user.gid);
  const flags = ["-D", dataDir, "-U", superuser, `--pwfile=${passwordFile}`, "--auth=scram-sha-256", "--encoding=UTF8", "--no-instructions"];
  const locale = ["--locale=C", ...(majorVersion >= 17 ? ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] : [])];
  await runProgram(initdb, [...flags, ...locale], { user, env: { LC_ALL: "C", PATH: process.env.PATH } });
}

/** A TCP port of the loopback interface that nobody listens on. */
export function freePort(): Promise<number> {
  return new Promise((done, fail) => {
    const server = createServer();
    server.once("error", fail);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      const port = typeof address === "object" && address ? address.port : 0;
      server.close(() => done(port));
    });
  });
}
