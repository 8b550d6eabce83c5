/** PostgreSQL's client programs, where this machine has them: found, chosen by version, and run. */
import { execFile } from "node:child_process";
import { readdir, realpath, stat } from "node:fs/promises";
import { basename, delimiter, join } from "node:path";
import { promisify } from "node:util";
import { readArchiveScript, type ScriptPart } from "../../core/archive-script.ts";
import { damaged } from "../../core/byte-source.ts";
import { ArchiveBusyError, type ArchiveSource, type ArchiveTools } from "../../core/dumper.ts";
import { GatewayError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import { findOsUser, type OsUser } from "../embedded/process.ts";
import type { ClusterTargets } from "../sql-dialer.ts";
import { bareEnvironment, libpqEnvironment } from "./libpq-environment.ts";
import { ProgramFailure, runProgram } from "./run-program.ts";

const run = promisify(execFile);

/** The first pg_dump that can be told which extensions to keep. */
const oldestMajor = 14;
/** Longer than deployments wait for a lock by default: whoever waits for one that excludes us gives up first. */
const lockWaitMs = 15_000;

export interface ClientTools {
  /** Major versions of the pg_dump and pg_restore there are, ascending. */
  versions(): Promise<readonly number[]>;
  /** For a server of that major version; undefined where there are none that are new enough. */
  forServer(version: number): Promise<ArchiveTools | undefined>;
  /** The data of an archive, by a pg_restore that never connects to anything. @throws {GatewayError} backup_unusable */
  decode(archive: AsyncIterable<Uint8Array>, toolVersion: number, signal: AbortSignal): AsyncGenerator<ScriptPart, void, undefined>;
}

export interface ClientToolsDeps {
  readonly clusters: ClusterTargets;
  readonly log: Log;
  /** Undefined: PATH, then where packages put them. */
  readonly folder: string | undefined;
  /** How long pg_dump waits for a lock. */
  readonly lockWaitMs?: number;
}

interface Found {
  readonly version: number;
  readonly dump: string;
  readonly restore: string;
}

export function createClientTools(deps: ClientToolsDeps): ClientTools {
  // The lowest that will do: an archive can be read by tools as new as those that made it.
  const least = async (version: number) => (await findTools(deps.folder)).find((each) => each.version >= version);
  return {
    versions: async () => (await findTools(deps.folder)).map((each) => each.version),
    async forServer(version) {
      const found = await least(version);
      return found && { version: found.version, dump: (source, signal) => dump(deps, found, source, signal) };
    },
    async *decode(archive, toolVersion, signal) {
      const found = await least(toolVersion);
      if (!found) throw new GatewayError("backup_unusable", `The backup was made with pg_dump ${toolVersion}. ${howToInstall(toolVersion)}`);
      yield* readArchiveScript(decode(deps, found, archive, signal));
    },
  };
}

/** What to do so that archives can be made for, or read of, that version. */
export function howToInstall(version: number): string {
  return (
    `Install the client programs of PostgreSQL ${version} on the gateway's machine (Debian: postgresql-client-${version}); ` +
    "where they are not in PATH, name their folder in backup.client_tools_dir."
  );
}

/** By version, one each. */
async function findTools(folder: string | undefined): Promise<readonly Found[]> {
  const found = new Map<number, Found>();
  for (const each of folder === undefined ? await usualFolders() : [folder]) {
    const [dumpVersion, restoreVersion] = await Promise.all(["pg_dump", "pg_restore"].map((name) => versionOf(join(each, name))));
    if (dumpVersion === undefined || dumpVersion < oldestMajor || restoreVersion !== dumpVersion || found.has(dumpVersion)) continue;
    found.set(dumpVersion, { version: dumpVersion, dump: join(each, "pg_dump"), restore: join(each, "pg_restore") });
  }
  return [...found.values()].sort((a, b) => a.version - b.version);
}

async function usualFolders(): Promise<readonly string[]> {
  const path = (process.env.PATH ?? "").split(delimiter).filter((folder) => folder.startsWith("/"));
  const debian = await readdir("/usr/lib/postgresql").catch(() => []);
  const others = (await readdir("/usr").catch(() => [])).filter((name) => /^pgsql-\d+$/.test(name));
  return [...new Set([...path, ...debian.map((name) => `/usr/lib/postgresql/${name}/bin`), ...others.map((name) => `/usr/${name}/bin`)])];
}

/** By file, with what tells that it has been replaced. */
const known = new Map<string, { readonly mark: string; readonly version: number | undefined }>();

/** Debian's pg_wrapper is none: it starts another version for another server. */
async function versionOf(program: string): Promise<number | undefined> {
  try {
    const real = await realpath(program);
    const { mtimeMs, size } = await stat(real);
    const mark = `${real} ${mtimeMs} ${size}`;
    let entry = known.get(program);
    if (entry?.mark !== mark) {
      const isWrapper = basename(real) === "pg_wrapper";
      entry = { mark, version: isWrapper ? undefined : await askVersion(program) };
      known.set(program, entry);
    }
    return entry.version;
  } catch {
    return undefined;
  }
}

async function askVersion(program: string): Promise<number | undefined> {
  const { stdout } = await run(program, ["--version"], { env: bareEnvironment(), timeout: 10_000 });
  const found = /\(PostgreSQL\) (\d+)/.exec(stdout);
  return found ? Number(found[1]) : undefined;
}

/**
 * Without grants: they name roles that are nowhere else, and a restore has them from the blueprint. Owners cannot be left out of an archive; pg_restore's
 * --no-owner does.
 */
function dumpArguments(source: ArchiveSource, lockWait: number): readonly string[] {
  return [
    ...["--format=custom", "--no-password", "--no-privileges", "--no-security-labels", "-b", "--encoding=UTF8"],
    ...["--strict-names", `--lock-wait-timeout=${lockWait}`, `--snapshot=${source.snapshot}`],
    ...source.schemas.map((name) => `--schema=${asPattern(name)}`),
    ...source.extensions.map((name) => `--extension=${asPattern(name)}`),
  ];
}

/** In quotes every character stands for itself. */
function asPattern(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

async function* dump(deps: ClientToolsDeps, tools: Found, source: ArchiveSource, signal: AbortSignal): AsyncGenerator<Uint8Array, void, undefined> {
  const target = await deps.clusters.get(source.database.clusterId);
  if (!target) throw new GatewayError("backend_unreachable", notReachable);
  const { env, remove } = await libpqEnvironment(target, source.database.name, source.settings).catch((cause: unknown) => {
    throw new GatewayError("backend_unreachable", notReachable, { cause });
  });
  try {
    yield* runProgram({ program: tools.dump, args: dumpArguments(source, deps.lockWaitMs ?? lockWaitMs), env, signal });
  } catch (error) {
    throw error instanceof ProgramFailure ? explainDump(deps.log, error) : error;
  } finally {
    await remove();
  }
}

const notReachable = "database server is not reachable";

/** By what pg_dump says in English, the server's words included. */
const dumpFailures: readonly (readonly [RegExp, () => Error])[] = [
  // Its own option for locks makes a statement_timeout.
  [/due to (statement|lock) timeout|deadlock detected/, () => new ArchiveBusyError("pg_dump waited for a lock in vain")],
  [/No space left on device|could not write to file/, () => failed("query_failed", "the database server has no space left on its disk")],
  [/server version mismatch/, () => failed("conflict", "pg_dump refused the server, which is newer than it")],
  [/connection to server .*failed|server closed the connection|terminating connection|no connection to the server|could not receive data/, gone],
  [/permission denied/, () => failed("permission_denied", "the administrator's role may not read everything")],
];

function failed(kind: "query_failed" | "conflict" | "permission_denied", what: string): GatewayError {
  return new GatewayError(kind, `The backup was not made: ${what}`);
}

function gone(): GatewayError {
  return new GatewayError("backend_unreachable", `The backup was not made: ${notReachable}`);
}

function explainDump(log: Log, failure: ProgramFailure): Error {
  const words = dumpFailures.find(([form]) => form.test(failure.said));
  if (words) return words[1]();
  log.write("warn", "pg_dump failed", { ending: failure.ending, said: ownWords(failure.said) });
  return new GatewayError("query_failed", `The backup was not made: pg_dump ${describeEnding(failure.ending)}`);
}

/** Its own lines; those of the server below them may hold values of rows. */
function ownWords(said: string): string {
  const lines = said.split("\n").filter((line) => /^pg_(dump|restore): (error|warning): /.test(line));
  return lines.map((line) => line.slice(0, 300)).join("; ");
}

function describeEnding(ending: string): string {
  if (/^SIG/.test(ending)) return `was ended by signal ${ending}`;
  if (/^[0-9]+$/.test(ending)) return `ended with exit code ${ending}; the gateway's log says more`;
  return `could not be started (${ending})`;
}

/** As the user that has nothing, where we may choose: what it reads comes from storage, and it needs nothing of ours. */
async function* decode(
  deps: ClientToolsDeps,
  tools: Found,
  archive: AsyncIterable<Uint8Array>,
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, undefined> {
  const args = ["--format=custom", "--data-only", "--no-owner", "--no-privileges", "--no-comments", "--no-security-labels", "--file=-"];
  try {
    yield* runProgram({
      program: tools.restore,
      args,
      env: { ...bareEnvironment(), HOME: "/" },
      user: await lesserUser(deps.log, tools.restore),
      input: archive,
      signal,
    });
  } catch (error) {
    if (!(error instanceof ProgramFailure)) throw error;
    deps.log.write("warn", "pg_restore failed", { ending: error.ending, said: ownWords(error.said) });
    if (/^(SIG|E)/.test(error.ending))
      throw new GatewayError("backup_unusable", `The backup cannot be read: pg_restore ${describeEnding(error.ending)}`);
    throw damaged("pg_restore does not understand its archive");
  }
}

/** Not where it could not run there: in a folder of root's own, or in a container that may not change users. */
async function lesserUser(log: Log, program: string): Promise<OsUser | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const user = await findOsUser("nobody");
  if (!user) return undefined;
  try {
    await run(program, ["--version"], { ...user, env: bareEnvironment(), cwd: "/", timeout: 10_000 });
    return user;
  } catch (error) {
    log.write("warn", "pg_restore runs as root, since it cannot as nobody", { reason: (error as NodeJS.ErrnoException).code });
    return undefined;
  }
}
