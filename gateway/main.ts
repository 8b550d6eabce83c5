/** `tdb up`: one process from configuration to exit code. */
import { join, resolve } from "node:path";
import { systemClock } from "../core/clock.ts";
import { type Config, ConfigError } from "../core/config.ts";
import { engineNames } from "../core/model.ts";
import { parseUpArguments } from "./config/arguments.ts";
import { formatHelp } from "./config/describe.ts";
import { loadConfig, reloadConfig } from "./config/load.ts";
import { endOnFault } from "./fault.ts";
import { type Credentials, ensureFirstProject } from "./first-start.ts";
import { createLog, logFormat, type ProcessLog } from "./log.ts";
import { detectRuntime, type Runtime } from "./runtime/runtime.ts";
import { type Gateway, startGateway } from "./start.ts";
import { StartupError } from "./startup-error.ts";

/** @returns the exit code: 0 stopped as asked, 1 could not start or run, 2 bad usage or configuration. */
export async function runUp(argv: readonly string[]): Promise<number> {
  try {
    const { flags, check, help } = parseUpArguments(argv);
    if (help) return say(formatHelp());
    const { config, file, warnings } = await loadConfig({ env: process.env, flags });
    const log = createLog({ level: config["log.level"], format: logFormat(config["log.format"]) });
    for (const warning of warnings) log.write("warn", "environment variable not used", { name: warning.source, reason: warning.message });
    if (check) return say(`configuration is valid${file ? ` (${file})` : ""}`);
    const runtime = await detectRuntime();
    const code = await serve(config, flags, runtime, log).catch(explain);
    endSoon(runtime, code);
    return code;
  } catch (error) {
    return explain(error);
  }
}

async function serve(config: Config, flags: Readonly<Record<string, string>>, runtime: Runtime, log: ProcessLog): Promise<number> {
  const stopAsked = waitForStop(runtime);
  let started: Gateway | undefined;
  const offFault = endOnFault(runtime, log, async () => await started?.stop(0));
  const gateway = await startGateway({ config, runtime, clock: systemClock, log });
  started = gateway;
  let current = config;
  const offHup = runtime.onSignal("SIGHUP", () => {
    void reload(gateway, current, flags, log).then((next) => {
      current = next;
    });
  });
  try {
    const first = await ensureFirstProject(gateway, resolve(config.data_dir));
    say(first ? introduce(first, config, runtime, gateway) : greet(config, runtime, gateway));
    const failure = await Promise.race([stopAsked.first, gateway.failed]);
    if (failure !== undefined) throw new StartupError("--data-dir", failure);
    log.write("info", "stopping", { drain_s: current.drain_s });
  } finally {
    offHup();
    const hurry = stopAsked.second.then(() => true);
    await Promise.race([gateway.stop(current.drain_s * 1000), hurry.then(() => gateway.stop(0))]);
    stopAsked.off();
    offFault();
  }
  return 0;
}

/** Everything has been stopped: a timer or socket that a library left behind must not keep the process. */
function endSoon(runtime: Runtime, code: number): void {
  setTimeout(() => runtime.exit(code), 1000).unref();
}

/** The first signal drains, a second one does not wait any longer. */
function waitForStop(runtime: Runtime): { first: Promise<undefined>; second: Promise<void>; off: () => void } {
  let first = (_: undefined) => {};
  let second = () => {};
  const firstAsked = new Promise<undefined>((done) => {
    first = done;
  });
  const secondAsked = new Promise<void>((done) => {
    second = done;
  });
  let count = 0;
  const handle = () => {
    count++;
    if (count === 1) first(undefined);
    else second();
  };
  const offs = [runtime.onSignal("SIGTERM", handle), runtime.onSignal("SIGINT", handle)];
  return { first: firstAsked, second: secondAsked, off: () => offs.forEach((off) => void off()) };
}

async function reload(gateway: Gateway, current: Config, flags: Readonly<Record<string, string>>, log: ProcessLog): Promise<Config> {
  try {
    const { config, changed, needRestart } = await reloadConfig(current, { env: process.env, flags });
    await gateway.reload(config);
    log.setLevel(config["log.level"]);
    log.write("info", "configuration reloaded", { changed: changed.join(", "), need_restart: needRestart.join(", ") });
    return config;
  } catch (error) {
    log.write("error", "configuration not reloaded, the old one stays", { error: error instanceof Error ? error.message : String(error) });
    return current;
  }
}

function introduce(credentials: Credentials, config: Config, runtime: Runtime, gateway: Gateway): string {
  const { project_id, api_key, proxy_password, api_url, ca_file } = credentials;
  return `${greet(config, runtime, gateway)}

First start: a project was made. Its secrets are shown once and kept in ${join(config.data_dir, "credentials.json")}.
  project id       ${project_id}
  API key          ${api_key}
  proxy password   ${proxy_password}

Next: make a workspace, then connect to it
  curl -s ${api_url}/workspaces -H "Authorization: Bearer ${api_key}" -H "Content-Type: application/json" -d '{"name":"myapp","database":"PostgreSQL"}'
  psql "postgresql://${project_id}:${proxy_password}@${gateway.pgHost}:${gateway.pgPort}/myapp_workspace?sslmode=${ca_file ? `verify-full&sslrootcert=${encodeURIComponent(ca_file)}` : "require"}"
`;
}

function greet(config: Config, runtime: Runtime, gateway: Gateway): string {
  const row = (name: string, value: string) => `  ${name.padEnd(16)} ${value}`;
  const where = config.database_url ? "the server of --database-url" : `embedded, data in ${config.data_dir}`;
  return [
    `Tenantry is up (${runtime.name} ${runtime.version})`,
    ...engineNames.map((engine) => row(engine, describePort(config, gateway.listeners.ports[engine]))),
    row("API", gateway.apiPort === undefined ? "off" : `${gateway.apiUrl}   reference at ${gateway.apiUrl}/docs`),
    row("database", `PostgreSQL ${gateway.serverVersion}, ${where}`),
    row("CA file", gateway.caFile ?? "none (tls.cert_file is configured)"),
  ].join("\n");
}

function describePort(config: Config, port: number | undefined): string {
  return port === undefined ? "off" : `${config.host.includes(":") ? `[${config.host}]` : config.host}:${port}`;
}

function say(text: string): number {
  process.stdout.write(`${text}\n`);
  return 0;
}

function explain(error: unknown): number {
  if (error instanceof ConfigError) {
    process.stderr.write(`${error.message}\n`);
    return 2;
  }
  if (error instanceof StartupError) {
    process.stderr.write(`tdb up: ${error.option}: ${error.message}\n`);
    return 1;
  }
  process.stderr.write(`tdb up: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  return 1;
}
