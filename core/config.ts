/** Configuration: values from file, environment and flags checked against the settings table, all faults found at once. */
import * as z from "zod";
import { type Config, envName, flagName, type Setting, type SettingPath, settingAt, settingPaths } from "./settings.ts";

export { type Config, envName, flagName, type Setting, type SettingPath, settingPaths, settings } from "./settings.ts";

export interface ConfigSources {
  /** The parsed configuration file. */
  readonly file?: unknown;
  /** How messages name it. */
  readonly fileName?: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** By flag name without dashes: `{ "pg-port": "5433" }`. */
  readonly flags: Readonly<Record<string, string>>;
}

export interface ConfigIssue {
  /** The setting, `pg_port`; for unknown names, the name as given. */
  readonly path: string;
  /** Where the value comes from: `--pg-port`, `TDB_PG_PORT`, `tenantry.json: pg_port`. */
  readonly source: string;
  readonly message: string;
}

/** The configuration cannot be used. `issues` has every fault; the message lists them, one a line. */
export class ConfigError extends Error {
  readonly issues: readonly ConfigIssue[];

  constructor(issues: readonly ConfigIssue[]) {
    const lines = issues.map((issue) => `  ${issue.source}: ${issue.message}`);
    super(`Cannot use the configuration:\n${lines.join("\n")}`);
    this.name = "ConfigError";
    this.issues = issues;
  }
}

/** One value as given, not yet checked. */
interface Given {
  readonly path: SettingPath;
  readonly source: string;
  readonly value: unknown;
}

const hostNamePattern = /^(\*\.)?[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$/;

const schemas = new Map(settingPaths.map((path) => [path, makeSchema(settingAt(path))]));

/** What a setting's value must be, as a zod schema. */
export function schemaOf(path: SettingPath): z.ZodType {
  return schemas.get(path) as z.ZodType;
}

/**
 * Defaults, then the file, then the environment, then flags: the later wins. An empty environment variable counts as unset.
 * @throws {ConfigError} with every bad value, unknown file key and unknown flag, overridden ones included.
 */
export function parseConfig(sources: ConfigSources): Config {
  const issues: ConfigIssue[] = [];
  const values: Record<string, unknown> = {};
  const origins = new Map<SettingPath, string>();
  for (const path of settingPaths) values[path] = settingAt(path).default;
  for (const given of [...readFile(sources, issues), ...readEnv(sources.env), ...readFlags(sources.flags, issues)]) {
    const found = checkValue(given);
    issues.push(...found);
    if (found.length > 0) continue;
    values[given.path] = given.value;
    origins.set(given.path, given.source);
  }
  const config = Object.freeze(values) as unknown as Config;
  issues.push(...checkTogether(config, (path) => origins.get(path) ?? path));
  if (issues.length > 0) throw new ConfigError(issues);
  return config;
}

/** Environment variables that look like ours and are not: worth a warning, not a refusal, since other programs may use the prefix. */
export function findUnknownEnv(env: ConfigSources["env"]): readonly ConfigIssue[] {
  const known = [...settingPaths.map(envName), "TDB_API_URL", "TDB_API_KEY"];
  const unknown = Object.keys(env).filter((name) => name.startsWith("TDB_") && !known.includes(name));
  return unknown.map((name) => ({ path: name, source: name, message: `unknown setting, not used${didYouMean(name, known)}` }));
}

/** A configuration read again while running. */
export interface Reloaded {
  /** What is in force now: new values where they may change, old ones where it takes a restart. */
  readonly config: Config;
  readonly changed: readonly SettingPath[];
  readonly needRestart: readonly SettingPath[];
}

/** Takes over from `next` what may change while running. */
export function applyReload(current: Config, next: Config): Reloaded {
  const differing = settingPaths.filter((path) => JSON.stringify(current[path]) !== JSON.stringify(next[path]));
  const changed = differing.filter((path) => settingAt(path).reload);
  const merged: Record<string, unknown> = { ...current };
  for (const path of changed) merged[path] = next[path];
  return { config: Object.freeze(merged) as unknown as Config, changed, needRestart: differing.filter((path) => !settingAt(path).reload) };
}

/** A row as people read it. */
export interface SettingDescription {
  readonly path: SettingPath;
  readonly flag: string;
  readonly env: string;
  /** `a port (−1 … 65535)`. */
  readonly expected: string;
  /** As written in the file; undefined when there is none. */
  readonly default: Setting["default"];
  readonly help: string;
  readonly type: Setting["type"];
  readonly reload: boolean;
  readonly secret: boolean;
  readonly inFile: boolean;
}

/** The table for --help, the JSON Schema and the documentation. */
export function describeSettings(): readonly SettingDescription[] {
  return settingPaths.map((path) => {
    const setting = settingAt(path);
    return {
      path,
      flag: `--${flagName(path)}`,
      env: envName(path),
      expected: describeExpected(path),
      default: setting.default,
      help: setting.help,
      type: setting.type,
      reload: setting.reload,
      secret: setting.secret === true,
      inFile: setting.outsideFile !== true,
    };
  });
}

/** The configuration in force with secret values left out, to be shown or logged. */
export function showConfig(config: Config): Record<SettingPath, unknown> {
  const shown = settingPaths.map((path) => {
    const value = config[path];
    const isEmpty = value === undefined || (typeof value === "object" && Object.keys(value).length === 0);
    return [path, settingAt(path).secret && !isEmpty ? "(set)" : value];
  });
  return Object.fromEntries(shown) as Record<SettingPath, unknown>;
}

function makeSchema(setting: Setting): z.ZodType {
  switch (setting.type) {
    case "int":
    case "duration":
      return z.int().min(setting.min).max(setting.max);
    case "port":
      return z.int().min(-1).max(65535);
    case "remote port":
      return z.int().min(1).max(65535);
    case "bool":
      return z.boolean();
    case "string":
    case "path":
      return z
        .string()
        .min(1)
        .regex(/^[^\0]*$/);
    case "enum":
      return z.enum([...setting.values]);
    case "cidr list":
      return z.array(z.union([z.ipv4(), z.cidrv4(), z.ipv6(), z.cidrv6()]));
    case "name list":
      return z.array(z.union([z.string().regex(hostNamePattern), z.ipv6()]));
    case "word list":
      return z.array(z.string().regex(/^[a-z_][a-z0-9_-]{0,62}$/));
    case "url":
      return urlSchema(setting.schemes);
    case "url map":
      return z.record(z.string().regex(/^[a-z][a-z0-9_-]{0,39}$/), urlSchema(setting.schemes));
  }
}

function urlSchema(schemes: readonly string[]): z.ZodType<string> {
  return z
    .string()
    .regex(new RegExp(`^(${schemes.join("|")})://\\S+$`))
    .refine((text) => URL.canParse(text));
}

function describeExpected(path: SettingPath): string {
  const setting = settingAt(path);
  switch (setting.type) {
    case "int":
      return `a whole number (${setting.min} … ${setting.max})`;
    case "duration":
      return `a whole number of ${path.endsWith("_ms") ? "milliseconds" : "seconds"} (${setting.min} … ${setting.max})`;
    case "port":
      return "a port (−1 … 65535)";
    case "remote port":
      return "a port (1 … 65535)";
    case "bool":
      return "true or false";
    case "string":
      return "a text that is not empty";
    case "path":
      return "a path";
    case "enum":
      return `one of ${setting.values.join(", ")}`;
    case "cidr list":
      return "a list of IP addresses and CIDR ranges";
    case "name list":
      return "a list of host names and IP addresses";
    case "word list":
      return "a list of names of a–z, 0–9, _ and -";
    case "url":
      return `a ${setting.schemes.join(":// or ")}:// URL`;
    case "url map":
      return `an object of names and ${setting.schemes.join(":// or ")}:// URLs`;
  }
}

/** What one entry of a list or map must be. */
function describeEntry(setting: Setting): string {
  switch (setting.type) {
    case "cidr list":
      return "an IP address or CIDR range";
    case "name list":
      return "a host name or IP address";
    case "word list":
      return "a name of a–z, 0–9, _ and -";
    case "url map":
      return `a ${setting.schemes.join(":// or ")}:// URL under a name of a–z, 0–9, _ and -`;
    default:
      throw new Error(`a setting of type ${setting.type} has no entries`);
  }
}

/** The first fault of one value by itself, with the place inside a list or map; empty when there is none. */
function checkValue(given: Given): readonly ConfigIssue[] {
  const fault = schemaOf(given.path).safeParse(given.value).error?.issues[0];
  if (!fault) return [];
  const setting = settingAt(given.path);
  const entry = fault.path[0];
  const value = entry === undefined ? given.value : Object(given.value)[entry];
  const place = entry === undefined ? "" : `entry ${typeof entry === "number" ? entry + 1 : JSON.stringify(entry)}: `;
  const shown = setting.secret ? "the value" : showValue(value);
  const expected = entry === undefined ? describeExpected(given.path) : describeEntry(setting);
  return [{ path: given.path, source: given.source, message: `${place}${shown} is not ${expected}` }];
}

function showValue(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 79)}…` : text;
}

/** Faults that take two values to see. `originOf` tells which source to name. */
function checkTogether(config: Config, originOf: (path: SettingPath) => string): readonly ConfigIssue[] {
  const issues: ConfigIssue[] = [];
  const report = (path: SettingPath, message: string) => issues.push({ path, source: originOf(path), message });
  const listeners = ["pg_port", "mysql_port", "mongo_port", "redis_port", "api_port"] as const;
  listeners.forEach((path, index) => {
    const same = listeners.slice(0, index).find((other) => config[other] === config[path]);
    if (same && config[path] > 0) report(path, `port ${config[path]} is already taken by ${same}`);
  });
  if (config["tls.cert_file"] && !config["tls.key_file"]) report("tls.cert_file", "a certificate needs its key: set tls.key_file too");
  if (config["tls.key_file"] && !config["tls.cert_file"]) report("tls.key_file", "a key needs its certificate: set tls.cert_file too");
  if (config["auth_ban.max_ban_s"] < config["auth_ban.ban_s"]) {
    report("auth_ban.max_ban_s", `${config["auth_ban.max_ban_s"]} is shorter than auth_ban.ban_s (${config["auth_ban.ban_s"]})`);
  }
  return issues;
}

/** Reads `{ "ip": { "connect_rate": 5 } }` as `ip.connect_rate`. `$schema` is for editors. */
function readFile(sources: ConfigSources, issues: ConfigIssue[]): readonly Given[] {
  if (sources.file === undefined) return [];
  const fileName = sources.fileName ?? "tenantry.json";
  if (!isObject(sources.file)) {
    issues.push({ path: "", source: fileName, message: "the file must hold one JSON object" });
    return [];
  }
  const known = settingPaths.filter((path) => !settingAt(path).outsideFile);
  const groups = new Set(known.filter((path) => path.includes(".")).map((path) => path.slice(0, path.indexOf("."))));
  const given: Given[] = [];
  const take = (path: string, value: unknown, isNested: boolean): void => {
    const source = `${fileName}: ${path}`;
    if (!isNested && groups.has(path)) {
      if (isObject(value)) for (const [name, inner] of Object.entries(value)) take(`${path}.${name}`, inner, true);
      else issues.push({ path, source, message: `${showValue(value)} is not an object of settings` });
    } else if (!isNested && path.includes(".")) {
      issues.push({
        path,
        source,
        message: `write it nested: ${path
          .split(".")
          .map((name) => `{ "${name}": `)
          .join("")}… } }`,
      });
    } else if (known.includes(path as SettingPath)) given.push({ path: path as SettingPath, source, value });
    else issues.push({ path, source, message: `unknown setting${didYouMean(path, [...known, ...groups])}` });
  };
  for (const [name, value] of Object.entries(sources.file)) if (name !== "$schema") take(name, value, false);
  return given;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function readEnv(env: ConfigSources["env"]): readonly Given[] {
  return settingPaths.flatMap((path) => {
    const source = envName(path);
    const text = env[source];
    return text === undefined || text === "" ? [] : [{ path, source, value: fromText(settingAt(path), text) }];
  });
}

function readFlags(flags: ConfigSources["flags"], issues: ConfigIssue[]): readonly Given[] {
  const byFlag = new Map(settingPaths.map((path) => [flagName(path), path]));
  return Object.entries(flags).flatMap(([flag, text]) => {
    const source = `--${flag}`;
    const path = byFlag.get(flag);
    if (path) return [{ path, source, value: fromText(settingAt(path), text) }];
    issues.push({
      path: flag,
      source,
      message: `unknown flag${didYouMean(
        source,
        [...byFlag.keys()].map((name) => `--${name}`),
      )}`,
    });
    return [];
  });
}

/** Text of a flag or variable as the value the file would hold. Text that means nothing stays as it is, for the check to refuse. */
function fromText(setting: Setting, text: string): unknown {
  switch (setting.type) {
    case "int":
    case "duration":
    case "port":
    case "remote port":
      return /^-?\d{1,15}$/.test(text) ? Number(text) : text;
    case "bool":
      return booleans.get(text.toLowerCase()) ?? text;
    case "cidr list":
    case "name list":
    case "word list":
      return text.split(",").flatMap((entry) => entry.trim() || []);
    case "url map":
      return parseJsonOr(text);
    default:
      return text;
  }
}

const booleans = new Map(["true", "on", "yes", "1", "false", "off", "no", "0"].map((text, index) => [text, index < 4]));

function parseJsonOr(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text; // not JSON: refused as a value of the wrong kind
  }
}

/** `; did you mean "…"?` when a known word is near enough to be a slip of the finger, else nothing. */
export function didYouMean(word: string, known: readonly string[]): string {
  const ranked = known.map((name) => ({ name, distance: editDistance(word, name) })).sort((a, b) => a.distance - b.distance);
  const best = ranked[0];
  return best && best.distance <= Math.max(2, Math.floor(word.length / 4)) ? `; did you mean ${JSON.stringify(best.name)}?` : "";
}

/** Insertions, deletions and replacements between two words (Levenshtein). */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(row[j]! + 1, next[j - 1]! + 1, row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length]!;
}
