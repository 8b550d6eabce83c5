/** The first start: one project, its secrets told once on the terminal and kept in credentials.json. */
import { readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { NewProject } from "../core/control-plane.ts";
import type { Gateway } from "./start.ts";
import { StartupError } from "./startup-error.ts";

/** What `credentials.json` holds (spec section 7). */
export interface Credentials {
  readonly project_id: string;
  readonly api_key: string;
  readonly proxy_password: string;
  readonly api_url: string;
  readonly ca_file: string | null;
  readonly pg_host: string;
  readonly pg_port: number;
}

const fileName = "credentials.json";

/**
 * Makes the first project when the installation has none. A start cut off between that and the file gives the project new secrets.
 * @returns its secrets at the first start only; the file keeps addresses up to date at every start.
 */
export async function ensureFirstProject(gateway: Gateway, dataDir: string): Promise<Credentials | undefined> {
  const path = join(dataDir, fileName);
  const known = await readCredentials(path);
  if (known) {
    await writeCredentials(path, { ...known, ...addresses(gateway) });
    return undefined;
  }
  const made = await makeOrRecover(gateway);
  if (!made) return undefined;
  const credentials = { project_id: made.project.id, api_key: made.apiKey, proxy_password: made.proxyPassword, ...addresses(gateway) };
  await writeCredentials(path, credentials);
  return credentials;
}

async function makeOrRecover(gateway: Gateway): Promise<NewProject | undefined> {
  const projects = await gateway.store.db.selectFrom("projects").select(["id", "account_id"]).limit(2).execute();
  const only = projects[0];
  if (!only) return await gateway.control.createProject(undefined, "default");
  if (projects.length > 1 || only.account_id !== null) return undefined; // somebody already signed up, or another instance keeps the file
  const project = await gateway.control.getProject(only.id);
  const { items } = await gateway.control.listCredentials(project.id, { limit: 2 });
  const workspaces = await gateway.control.listWorkspaces(project.id, { limit: 1 });
  const credential = items[0];
  if (items.length !== 1 || !credential || workspaces.items.length > 0) return undefined;
  return { project, ...(await gateway.control.rotateCredential(project.id, credential.id, 0)) };
}

function addresses(gateway: Gateway): Pick<Credentials, "api_url" | "ca_file" | "pg_host" | "pg_port"> {
  return { api_url: gateway.apiUrl, ca_file: gateway.caFile ?? null, pg_host: gateway.pgHost, pg_port: gateway.pgPort ?? 0 };
}

async function readCredentials(path: string): Promise<Credentials | undefined> {
  try {
    return JSON.parse(await readFile(path, "utf8")) as Credentials;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw new StartupError("--data-dir", `cannot read "${path}": ${(error as Error).message}; repair it or move it away`, error);
  }
}

/** In one step, so that a cut-off write leaves the old file. */
async function writeCredentials(path: string, credentials: Credentials): Promise<void> {
  const next = `${path}.new`;
  await writeFile(next, `${JSON.stringify(credentials, null, 2)}\n`, { mode: 0o600 });
  await rename(next, path);
}
