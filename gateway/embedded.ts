/** The embedded PostgreSQL server: made at first start, kept between starts, reached over a Unix socket only, ended with the gateway. */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { chown, readFile, realpath, rename, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import type { Log } from "../core/log.ts";
import { makeScramKeys, toBase64 } from "../core/secrets.ts";
import { quoteIdentifier, quoteLiteral } from "../core/sql.ts";
import { findBinaries, type ServerBinaries } from "./embedded/binaries.ts";
import { type DataDirLock, lockDataDir } from "./embedded/data-dir-lock.ts";
import { checkReachable, chooseServerUser, chooseSocketDir, makePrivateDir, prepareDataDir } from "./embedded/directories.ts";
import { isAlive, isServerOf, type OsUser } from "./embedded/process.ts";
import { hbaFile, serverSettings } from "./embedded/settings.ts";
import { nodeCrypto } from "./runtime/crypto.ts";
import { ScramClient } from "./scram-client.ts";
import type { ClusterTarget } from "./sql-dialer.ts";
import { StartupError } from "./startup-error.ts";

export interface EmbeddedOptions {
  /** Holds everything: `postgres/` (the cluster), `tdb.lock`, `socket/` when the path is short. Made when missing. */
  readonly dataDir: string;
  /** Of the superuser `postgres`; must be the same at every start. */
  readonly superuserPassword: string;
  /** The one before, where it is being changed: a server that knows only that one is told the new. */
  readonly previousPassword?: string | undefined;
  readonly log: Log;
  /** Folder of `initdb` and `postgres`; default: the npm package's. */
  readonly binDir?: string | undefined;
  readonly maxConnections?: number;
  /** False only for tests: no fsync. */
  readonly durable?: boolean;
  /** How long starting and stopping may take. A crashed server may have much to recover. */
  readonly timeoutMs?: number;
}

export interface EmbeddedServer {
  readonly connection: ClusterTarget;
  readonly majorVersion: number;
  readonly pid: number;
  /** Resolves when the server has ended, asked or not, with what it ended with. */
  readonly ended: Promise<string>;
  /** Ends sessions, checkpoints, frees the data directory. May be called twice. */
  stop(): Promise<void>;
}

const superuser = "postgres";
const port = 5432;

/** @throws {StartupError} with the option to change. */
export async function startEmbedded(options: EmbeddedOptions): Promise<EmbeddedServer> {
  const binaries = await findBinaries(options.binDir);
  const user = await chooseServerUser();
  if (user) await checkReachable(binaries.postgres, user, "--database-url", "the embedded PostgreSQL");
  await prepareDataDir(resolve(options.dataDir), user);
  const dataDir = await realpath(options.dataDir);
  const lock = await lockDataDir(options.dataDir);
  try {
    const clusterDir = join(dataDir, "postgres");
    await checkVersion(options.dataDir, clusterDir, binaries);
    await endOrphan(clusterDir, options);
    if ((await readVersion(clusterDir)) === undefined) await initialise(dataDir, clusterDir, binaries, user, options);
    const socketDir = chooseSocketDir(dataDir);
    await makePrivateDir(socketDir, user);
    return await launch({ dataDir, clusterDir, socketDir, binaries, user, options, lock });
  } catch (error) {
    await lock.release();
    throw error;
  }
}

async function readVersion(clusterDir: string): Promise<string | undefined> {
  try {
    return (await readFile(join(clusterDir, "PG_VERSION"), "utf8")).trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new StartupError("--data-dir", `cannot read the data directory "${clusterDir}": ${(error as Error).message}`, error);
  }
}

async function checkVersion(shownDir: string, clusterDir: string, binaries: ServerBinaries): Promise<void> {
  const found = await readVersion(clusterDir);
  if (found === undefined || found === String(binaries.majorVersion)) return;
  throw new StartupError(
    "--data-dir",
    `data directory "${shownDir}" was made by PostgreSQL ${found}, this tdb runs PostgreSQL ${binaries.majorVersion}; ` +
      "start the tdb it was made with and move the data over, or choose another with --data-dir",
  );
}

/** Whoever held the lock is dead, so a server still running on these files lost its gateway to a crash. */
async function endOrphan(clusterDir: string, options: EmbeddedOptions): Promise<void> {
  const pidFile = await readFile(join(clusterDir, "postmaster.pid"), "utf8").catch(() => undefined);
  const pid = Number.parseInt(pidFile?.split("\n")[0] ?? "", 10);
  if (!(pid > 0) || !(await isAlive(pid)) || !(await isServerOf(pid, clusterDir))) return;
  options.log.write("warn", "embedded server left over from a crash is stopped", { pid });
  process.kill(pid, "SIGINT");
  const deadline = performance.now() + (options.timeoutMs ?? 60_000);
  while (await isAlive(pid)) {
    if (performance.now() > deadline) {
      throw new StartupError(
        "--data-dir",
        `the PostgreSQL server left over on "${options.dataDir}" (pid ${pid}) does not stop; end it and start again`,
      );
    }
    await pause(20);
  }
}

/** Made beside and renamed at the end, so that a crash never leaves half a cluster under the real name. */
async function initialise(
  dataDir: string,
  clusterDir: string,
  binaries: ServerBinaries,
  user: OsUser | undefined,
  options: EmbeddedOptions,
): Promise<void> {
  const fresh = join(dataDir, "postgres.new");
  const passwordFile = join(dataDir, "initdb.password");
  await rm(fresh, { recursive: true, force: true });
  await rm(passwordFile, { force: true });
  await makePrivateDir(fresh, user);
  try {
    await writeFile(passwordFile, `${options.superuserPassword}\n`, { mode: 0o600, flag: "wx" });
    if (user) await chown(passwordFile, user.uid, user.gid);
    const flags = [
      ...["-D", fresh, "-U", superuser, `--pwfile=${passwordFile}`, "--auth=scram-sha-256", "--encoding=UTF8", "--no-instructions"],
      // The same order and case rules on every platform, unchanged by updates of the system's C library.
      ...["--locale=C", ...(binaries.majorVersion >= 17 ? ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"] : [])],
      ...(options.durable === false ? ["--no-sync"] : []),
    ];
    await runToEnd(binaries.initdb, flags, user);
  } finally {
    await rm(passwordFile, { force: true });
  }
  await rename(fresh, clusterDir);
}

function runToEnd(program: string, args: readonly string[], user: OsUser | undefined): Promise<void> {
  return new Promise((done, fail) => {
    const child = spawn(program, args, { ...user, cwd: "/", stdio: ["ignore", "ignore", "pipe"], env: serverEnvironment() });
    let said = "";
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      said = `${said}${text}`.slice(-4000);
    });
    child.once("error", fail);
    child.once("close", (code) => {
      if (code === 0) done();
      else fail(new StartupError("--data-dir", `initdb failed: ${said.trim() || `exit code ${code}`}`));
    });
  });
}

/** Nothing of the gateway's own environment, where secrets and PG* variables may be. */
function serverEnvironment(): NodeJS.ProcessEnv {
  const path = process.env.PATH;
  return { LC_ALL: "C", TZ: "UTC", ...(path === undefined ? {} : { PATH: path }) };
}

interface Launch {
  readonly dataDir: string;
  readonly clusterDir: string;
  readonly socketDir: string;
  readonly binaries: ServerBinaries;
  readonly user: OsUser | undefined;
  readonly options: EmbeddedOptions;
  readonly lock: DataDirLock;
}

async function launch(input: Launch): Promise<EmbeddedServer> {
  const { options, user } = input;
  const hbaPath = join(input.clusterDir, "pg_hba.conf");
  await writeFile(hbaPath, hbaFile, { mode: 0o600 });
  if (user) await chown(hbaPath, user.uid, user.gid);
  const settings = serverSettings({
    socketDir: input.socketDir,
    hbaPath,
    maxConnections: options.maxConnections ?? 400,
    durable: options.durable !== false,
  });
  const flags = Object.entries(settings).flatMap(([name, value]) => ["-c", `${name}=${value}`]);
  // What the server says before its own log is open, and all it says when it cannot start.
  const startLog = join(input.dataDir, "postgres-start.log");
  const output = openSync(startLog, "w", 0o600);
  const child = spawn(input.binaries.postgres, ["-D", input.clusterDir, "-p", String(port), ...flags], {
    ...user,
    cwd: "/",
    // A session of its own: Ctrl+C in the terminal is for the gateway, which drains and then stops the server.
    detached: true,
    stdio: ["ignore", output, output],
    env: serverEnvironment(),
  });
  closeSync(output);
  const ended = new Promise<string>((done) => {
    child.once("error", (error) => done(error.message));
    child.once("exit", (code, signal) => done(signal ? `signal ${signal}` : `exit code ${code}`));
  });
  const connection: ClusterTarget = { socketDir: input.socketDir, port, user: superuser, password: options.superuserPassword };
  const stop = makeStop(child, ended, input.lock, options.timeoutMs ?? 60_000);
  try {
    await waitUntilReady(connection, ended, startLog, input);
  } catch (error) {
    await stop();
    throw error;
  }
  return { connection, majorVersion: input.binaries.majorVersion, pid: child.pid ?? 0, ended, stop };
}

async function waitUntilReady(connection: ClusterTarget, ended: Promise<string>, startLog: string, input: Launch): Promise<void> {
  let end: string | undefined;
  void ended.then((how) => {
    end = how;
  });
  const deadline = performance.now() + (input.options.timeoutMs ?? 60_000);
  for (;;) {
    if (end !== undefined) {
      const said = await readFile(startLog, "utf8").catch(() => "");
      throw new StartupError("--data-dir", `the embedded PostgreSQL did not start (${end}): ${said.trim().slice(-1500)}`);
    }
    const problem = await tryLogin(connection);
    if (problem === undefined) return;
    if (problem.code === "28P01" && (await changePassword(connection, input.options))) continue;
    if (problem.code === "28P01") {
      throw new StartupError(
        "--data-dir",
        `data directory "${input.options.dataDir}" was made with another master key; give the key it was made with, or choose another with --data-dir`,
      );
    }
    if (performance.now() > deadline) {
      throw new StartupError("--data-dir", `the embedded PostgreSQL on "${input.options.dataDir}" is not ready: ${problem.message}`);
    }
    await pause(20);
  }
}

/** @returns false when the password before is not good either. */
async function changePassword(connection: ClusterTarget, { previousPassword, superuserPassword }: EmbeddedOptions): Promise<boolean> {
  if (previousPassword === undefined) return false;
  const before = { ...connection, password: previousPassword };
  if ((await tryLogin(before)) !== undefined) return false;
  await setSuperuserPassword(before, superuserPassword);
  return true;
}

/** Sent as a SCRAM verifier, so that the password itself is in no statement that a log may show. */
export async function setSuperuserPassword(target: ClusterTarget, password: string): Promise<void> {
  const client = new ScramClient({
    ...{ host: target.socketDir, port: target.port, user: target.user, password: target.password, database: "postgres" },
    connectionTimeoutMillis: 5000,
  });
  client.on("error", () => undefined); // told by the call that fails
  await client.connect();
  try {
    await client.query(`ALTER ROLE ${quoteIdentifier(superuser)} PASSWORD ${quoteLiteral(await scramVerifier(password))}`);
  } finally {
    await client.end();
  }
}

async function scramVerifier(password: string): Promise<string> {
  const salt = nodeCrypto.randomBytes(16);
  const { storedKey, serverKey } = await makeScramKeys(nodeCrypto, password, salt, 4096);
  return `SCRAM-SHA-256$4096:${toBase64(salt)}$${toBase64(storedKey)}:${toBase64(serverKey)}`;
}

async function tryLogin(target: ClusterTarget): Promise<{ code?: string; message: string } | undefined> {
  const client = new ScramClient({
    ...{ host: target.socketDir, port: target.port, user: target.user, password: target.password, database: "postgres" },
    connectionTimeoutMillis: 5000,
  });
  client.on("error", () => {
    // Told to connect() as well; without a listener it would end the process.
  });
  try {
    await client.connect();
    return undefined;
  } catch (error) {
    return error as Error & { code?: string };
  } finally {
    await client.end().catch(() => undefined);
  }
}

/** SIGINT is the fast shutdown: sessions ended, everything written. A server that hangs is ended without a checkpoint; it recovers at the next start. */
function makeStop(child: ChildProcess, ended: Promise<string>, lock: DataDirLock, timeoutMs: number): () => Promise<void> {
  const onExit = () => {
    child.kill("SIGINT");
    lock.releaseNow();
  };
  process.once("exit", onExit);
  void ended.then(() => process.off("exit", onExit));
  let stopping: Promise<void> | undefined;
  return () => {
    stopping ??= (async () => {
      child.kill("SIGINT");
      const hung = setTimeout(() => child.kill("SIGQUIT"), timeoutMs);
      await ended;
      clearTimeout(hung);
      await lock.release();
    })();
    return stopping;
  };
}

function pause(ms: number): Promise<void> {
  return new Promise((done) => setTimeout(done, ms));
}
