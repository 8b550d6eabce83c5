/** The file ~/.tenantsdb.json: which gateway and project the command line talks to. Holds secrets, so only its owner may read it. */
import { chmod, mkdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { z } from "zod";
import type { CliHost } from "./host.ts";

const KnownProject = z.object({ name: z.string().optional(), api_key: z.string().optional(), proxy_password: z.string().optional() });

const Config = z.object({
  api_url: z.string().optional(),
  api_key: z.string().optional(),
  session_token: z.string().optional(),
  project_id: z.string().optional(),
  /** Secrets of projects made or switched to here, by project id. */
  projects: z.record(z.string(), KnownProject).optional(),
});
export type CliConfig = z.infer<typeof Config>;

/** What `tdb up` writes at its first start. */
const Credentials = z.object({
  project_id: z.string(),
  api_key: z.string(),
  proxy_password: z.string(),
  api_url: z.string(),
  ca_file: z.string().nullish(),
  pg_host: z.string().optional(),
  pg_port: z.number().optional(),
});
export type LocalCredentials = z.infer<typeof Credentials>;

export function configPath(host: CliHost): string {
  return join(host.homeDir, ".tenantsdb.json");
}

/** @throws {Error} when the file cannot be understood. */
export async function readConfig(host: CliHost): Promise<CliConfig> {
  return (await readJsonFile(configPath(host), Config)) ?? {};
}

export async function writeConfig(host: CliHost, config: CliConfig): Promise<void> {
  await writePrivateFile(configPath(host), `${JSON.stringify(config, null, 2)}\n`);
}

/** The credentials of a gateway started from this folder. */
export async function readLocalCredentials(host: CliHost): Promise<LocalCredentials | undefined> {
  const folder = host.env.TDB_DATA_DIR || join(host.cwd, ".tdb");
  return readJsonFile(join(folder, "credentials.json"), Credentials);
}

async function readJsonFile<T>(path: string, schema: z.ZodType<T>): Promise<T | undefined> {
  let text: string;
  try {
    text = await readFile(path, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
  try {
    return schema.parse(JSON.parse(text));
  } catch (error) {
    throw new Error(`cannot understand ${path}: mend it or remove it`, { cause: error });
  }
}

/** Replaces a file in one step, readable by its owner only. */
export async function writePrivateFile(path: string, text: string): Promise<void> {
  const temporary = `${path}.${crypto.randomUUID().slice(0, 8)}`;
  await mkdir(dirname(path), { recursive: true });
  try {
    await writeFile(temporary, text, { mode: 0o600 });
    await chmod(temporary, 0o600);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw error;
  }
}
