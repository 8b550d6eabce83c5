/** tdb deployments … */
import { type Command, Option } from "commander";
import { segment } from "../../client.ts";
import { CommandFailure, UsageError } from "../errors.ts";
import { formatFields, formatProgress, formatTable, sanitize } from "../print.ts";
import type { CliSession, View } from "../session.ts";
import { addPaging, collect, type PagingOptions, pageQuery, wholeNumber } from "./options.ts";

interface Result {
  readonly tenant_id: string;
  readonly status: string;
  readonly duration_ms: number | null;
  readonly error: string | null;
  readonly attempts: number;
  readonly statements:
    | readonly { version: number; command: string; duration_ms: number; locks: readonly string[]; rewrites: readonly string[] }[]
    | null;
}

interface Deployment {
  readonly id: string;
  readonly blueprint_name: string;
  readonly version: number;
  readonly status: string;
  readonly tenants_total: number;
  readonly tenants_completed: number;
  readonly tenants_failed: number;
  readonly dry_run: boolean;
  readonly held_because: string | null;
  readonly results: readonly Result[];
  readonly next_cursor: string | null;
}

interface CreateOptions {
  blueprint: string;
  version?: number;
  all?: boolean;
  tenant: string[];
  concurrency?: number;
  lockTimeoutMs?: number;
  canary?: number;
  canaryWatchS?: number;
  onFailure?: "continue" | "hold";
  dryRun?: boolean;
  wait?: boolean;
}

type Shown = "all" | "failed" | "none";

const pollMs = 500;
/** What was only just begun or stopped has counts; results are for `status` and `--wait`. */
const none = { query: { results: "none" } } as const;

const createExamples = `
Examples:
  $ tdb deployments create --blueprint myapp --tenant wayne --dry-run --wait
  $ tdb deployments create --blueprint myapp --all --canary 2 --wait
  $ tdb deployments create --blueprint myapp --all --on-failure hold --concurrency 16 --wait
  $ tdb deployments create --blueprint myapp --version 3 --tenant wayne`;

const deploymentView: View<Deployment> = {
  quiet: (answer) => answer.id,
  human: (answer) => {
    const fields = formatFields([
      ["deployment", answer.id],
      ["blueprint", `${answer.blueprint_name} version ${answer.version}`],
      ["status", answer.status],
      ["tenants", `${answer.tenants_completed} of ${answer.tenants_total} done, ${answer.tenants_failed} failed`],
      ...(answer.dry_run ? ([["dry run", "on copies; no tenant was changed"]] as const) : []),
      ...(answer.held_because === null ? [] : ([["held", answer.held_because]] as const)),
    ]);
    if (answer.results.length === 0) return fields;
    const rows = answer.results.map((row) => [row.tenant_id, row.status, row.duration_ms, row.attempts, row.error]);
    return [fields, formatTable(["TENANT", "STATUS", "MS", "TRIES", "ERROR"], rows), ...answer.results.flatMap(describeStatements)].join("\n");
  },
};

/** What a dry run found out. */
function describeStatements({ tenant_id, statements }: Result): string[] {
  if (!statements || statements.length === 0) return [];
  const rows = statements.map(({ version, command, duration_ms, locks, rewrites }) => [
    version,
    command,
    duration_ms,
    locks.join("\n"),
    rewrites.join("\n"),
  ]);
  return [`\nStatements on the copy of ${sanitize(tenant_id)}`, formatTable(["VERSION", "STATEMENT", "MS", "LOCKS", "TABLES WRITTEN ANEW"], rows)];
}

export function addDeploymentCommands(program: Command, session: CliSession): void {
  const deployments = program.command("deployments").description("Deployments: bring tenants to a blueprint version");

  addPaging(deployments.command("list"))
    .description("The project's deployments")
    .action((options: PagingOptions) =>
      session.show((client) => client.deployments.$get({ query: pageQuery(options) }), {
        quiet: (answer) => answer.deployments.map((row) => row.id).join("\n"),
        human: (answer) =>
          formatTable(
            ["DEPLOYMENT", "BLUEPRINT", "VERSION", "STATUS", "DONE", "FAILED", "TOTAL", "CREATED"],
            answer.deployments.map((row) => [
              row.id,
              row.blueprint_name,
              row.version,
              row.status,
              row.tenants_completed,
              row.tenants_failed,
              row.tenants_total,
              row.created_at,
            ]),
          ),
      }),
    );
  addCreate(deployments, session);

  deployments
    .command("status")
    .description("One deployment, tenant by tenant")
    .argument("<deployment>")
    .option("--wait", "until it has ended; exit code 1 if it failed")
    .addOption(new Option("--results <which>", "the tenants it shows (all unless told)").choices(["all", "failed", "none"]))
    .action(async (id: string, { wait, results = "all" }: { wait?: boolean; results?: Shown }) => {
      if (wait) return followDeployment(session, id, results);
      await session.print(await readWhole(session, id, results), deploymentView);
    });
  deployments
    .command("cancel")
    .description("Stop after the tenants being worked on")
    .argument("<deployment>")
    .action((id: string) =>
      session.show((client) => client.deployments[":id"].cancel.$post({ param: { id: segment(id) }, ...none }), deploymentView),
    );
  deployments
    .command("retry")
    .description("Try the failed and cancelled tenants again")
    .argument("<deployment>")
    .option("--wait", "until it has ended; exit code 1 if it failed")
    .action(async (id: string, options: { wait?: boolean }) => {
      const call = { param: { id: segment(id) }, ...none };
      if (!options.wait) {
        await session.show((client) => client.deployments[":id"].retry.$post(call), deploymentView);
        return;
      }
      const started = await session.ask((client) => client.deployments[":id"].retry.$post(call));
      await followDeployment(session, started.id);
    });
}

function addCreate(deployments: Command, session: CliSession): void {
  deployments
    .command("create")
    .description("Start a deployment")
    .requiredOption("--blueprint <name>")
    .option("--version <n>", "the newest unless told", wholeNumber)
    .option("--all", "every tenant of the blueprint")
    .option("--tenant <ids>", "these tenants, with commas or repeated", collect, [])
    .option("--concurrency <n>", "tenants worked on at a time", wholeNumber)
    .option("--lock-timeout-ms <ms>", "how long one try waits for a lock", wholeNumber)
    .option("--canary <n>", "so many tenants first; the rest is held if one fails or its statements fail more often", wholeNumber)
    .option("--canary-watch-s <s>", "how long the canaries are watched (30 unless told)", wholeNumber)
    .addOption(new Option("--on-failure <what>", "hold: begin no further tenant once one has failed").choices(["continue", "hold"]))
    .option("--dry-run", "on copies of the named tenants' databases: time and locks by statement, no tenant is changed")
    .option("--wait", "until it has ended; exit code 1 if it failed")
    .addHelpText("after", createExamples)
    .action(async (options: CreateOptions) => {
      const json = readRequest(options);
      if (!options.wait) {
        await session.show<Deployment>((client) => client.deployments.$post({ json, ...none }), deploymentView);
        return;
      }
      const started = await session.ask<Deployment>((client) => client.deployments.$post({ json, ...none }));
      await followDeployment(session, started.id);
    });
}

function readRequest({ blueprint, version, all, tenant, concurrency, lockTimeoutMs, ...more }: CreateOptions) {
  if ((all === true) === tenant.length > 0) throw new UsageError("say which tenants: either --all or --tenant <ids>");
  return {
    blueprint_name: blueprint,
    ...(all ? { deploy_all: true } : { tenant_ids: tenant }),
    ...(version !== undefined && { version }),
    ...(concurrency !== undefined && { concurrency }),
    ...(lockTimeoutMs !== undefined && { lock_timeout_ms: lockTimeoutMs }),
    ...(more.canary !== undefined && { canary: more.canary }),
    ...(more.canaryWatchS !== undefined && { canary_watch_s: more.canaryWatchS }),
    ...(more.onFailure !== undefined && { on_failure: more.onFailure }),
    ...(more.dryRun && { dry_run: true }),
  };
}

/** Page after page of the results, as one answer. */
async function readWhole(session: CliSession, id: string, results: Shown): Promise<Deployment> {
  const read = (cursor?: string) => {
    const query = { results, ...(cursor !== undefined && { cursor }) };
    return session.ask<Deployment>((client) => client.deployments[":id"].$get({ param: { id: segment(id) }, query }));
  };
  const whole = await read();
  const all = [...whole.results];
  for (let cursor = whole.next_cursor; cursor !== null; ) {
    const page = await read(cursor);
    all.push(...page.results);
    cursor = page.next_cursor;
  }
  return { ...whole, results: all, next_cursor: null };
}

/** Asks until the deployment has ended, with a bar on a terminal. @throws {CommandFailure} when it did not end well. */
async function followDeployment(session: CliSession, id: string, results: Shown = "all"): Promise<void> {
  const { stderr } = session.host;
  const showsBar = stderr.isTTY && !session.options.quiet && !session.options.json;
  for (;;) {
    // Results come once, at the end: those of thousands of tenants are megabytes.
    const state = await readWhole(session, id, "none");
    if (showsBar) stderr.write(`\r${formatProgress(state.tenants_completed, state.tenants_failed, state.tenants_total)}`);
    if (state.status === "queued" || state.status === "running") {
      await session.host.sleep(pollMs);
      continue;
    }
    if (showsBar) stderr.write("\n");
    await session.print(await readWhole(session, id, results), deploymentView);
    if (state.status !== "done") throw new CommandFailure(`deployment ${id} ${state.status}: \`tdb deployments retry ${id}\` tries the others again`);
    return;
  }
}
