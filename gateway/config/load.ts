/** Loads the configuration of a process: file, environment, flags; and loads it again on SIGHUP. */
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import {
  applyReload,
  type Config,
  ConfigError,
  type ConfigIssue,
  type ConfigSources,
  findUnknownEnv,
  parseConfig,
  type Reloaded,
} from "../../core/config.ts";
import { findJsonFault } from "./json-fault.ts";

export const defaultConfigFile = "tenantry.json";

export interface LoadOptions {
  readonly env: ConfigSources["env"];
  readonly flags: ConfigSources["flags"];
  /** Where ./tenantry.json and a relative `--config` are looked for; default: the working directory. */
  readonly directory?: string;
}

export interface LoadedConfig {
  readonly config: Config;
  /** The file that was read; undefined when there was none. */
  readonly file: string | undefined;
  /** Environment variables that look like settings and are none. */
  readonly warnings: readonly ConfigIssue[];
}

/** @throws {ConfigError} with everything that is wrong; nothing has been opened yet. */
export async function loadConfig(options: LoadOptions): Promise<LoadedConfig> {
  const named = options.flags.config || options.env.TDB_CONFIG || undefined;
  const source = options.flags.config ? "--config" : "TDB_CONFIG";
  const fileName = named ?? defaultConfigFile;
  const path = resolve(options.directory ?? ".", fileName);
  const text = await readIfThere(path, named === undefined, source, fileName);
  const file = text === undefined ? undefined : parseFile(text, fileName);
  const config = parseConfig({ file, fileName, env: options.env, flags: options.flags });
  return { config, file: text === undefined ? undefined : path, warnings: findUnknownEnv(options.env) };
}

/**
 * Loads again and takes over what may change while running.
 * @throws {ConfigError} when the new configuration is bad; the current one then stays in force.
 */
export async function reloadConfig(current: Config, options: LoadOptions): Promise<Reloaded> {
  const { config } = await loadConfig(options);
  return applyReload(current, config);
}

async function readIfThere(path: string, isOptional: boolean, source: string, fileName: string): Promise<string | undefined> {
  try {
    return await readFile(path, "utf8");
  } catch (error) {
    const code = (error as { code?: string }).code ?? "unknown error";
    if (isOptional && code === "ENOENT") return undefined;
    const reason = code === "ENOENT" ? "does not exist" : `cannot be read (${code})`;
    throw new ConfigError([{ path: "config", source: isOptional ? fileName : source, message: `the file ${JSON.stringify(fileName)} ${reason}` }]);
  }
}

function parseFile(text: string, fileName: string): unknown {
  const json = text.replace(/^\uFEFF/, "");
  try {
    return JSON.parse(json);
  } catch (error) {
    const fault = findJsonFault(json);
    const message = fault ? `line ${fault.line}, column ${fault.column}: ${fault.message}` : `not JSON: ${(error as Error).message}`;
    throw new ConfigError([{ path: "config", source: fileName, message }]);
  }
}
