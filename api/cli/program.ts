/** The command tree of `tdb`. */
import { Command, CommanderError } from "commander";
import { addAccountCommands } from "./commands/account.ts";
import { addApiKeyCommands } from "./commands/apikeys.ts";
import { addBenchCommand } from "./commands/bench.ts";
import { addBlueprintCommands } from "./commands/blueprints.ts";
import { addClientCertificateCommands } from "./commands/client-certificates.ts";
import { addClusterCommands } from "./commands/clusters.ts";
import { addCompletionCommand } from "./commands/completion.ts";
import { addConfigCommands } from "./commands/config.ts";
import { addDeploymentCommands } from "./commands/deployments.ts";
import { addImportCommands } from "./commands/imports.ts";
import { addOperationsCommands } from "./commands/operations.ts";
import { addPgbouncerCommand } from "./commands/pgbouncer.ts";
import { addProjectCommands } from "./commands/projects.ts";
import { addPsqlCommand } from "./commands/psql.ts";
import { addQueryCommand } from "./commands/query.ts";
import { addTenantCommands } from "./commands/tenants.ts";
import { addVersionCommand } from "./commands/version.ts";
import { addWorkspaceCommands } from "./commands/workspaces.ts";
import { describeError, exitCodeOf } from "./errors.ts";
import { addExamples } from "./examples.ts";
import type { CliHost } from "./host.ts";
import { CliSession, type GlobalOptions } from "./session.ts";

const examples = `
Start here:
  $ tdb up                                                   start a gateway; keep it running
  $ tdb workspaces create --name myapp                       a place to design the schema
  $ tdb psql myapp                                           CREATE TABLE … there; each becomes a version
  $ tdb tenants create --name wayne --blueprint myapp        a database for a customer
  $ tdb deployments create --blueprint myapp --all --wait    bring all customers to the newest version

Where it connects: --api-url and --api-key, else TDB_API_URL and TDB_API_KEY, else ~/.tenantsdb.json
(tdb config set), else the gateway started in this folder (.tdb/credentials.json).

Exit codes: 0 done, 1 failed, 2 wrong usage.`;

export function buildProgram(session: CliSession): Command {
  const { stdout, stderr } = session.host;
  const program = new Command("tdb");
  program
    .description("A PostgreSQL database of its own for every customer of your product.")
    .option("--json", "print the API's answer as JSON")
    .option("--quiet", "print only names and ids")
    .option("--verbose", "say what is being done")
    .option("--output <file>", "write the answer to a file that only you can read")
    .option("--api-url <url>", "address of the management API")
    .option("--api-key <key>", "API key; TDB_API_KEY keeps it out of the process list")
    .addHelpText("after", examples)
    .configureOutput({ writeOut: (text) => stdout.write(text), writeErr: (text) => stderr.write(text) })
    .showSuggestionAfterError()
    .exitOverride()
    .hook("preAction", () => {
      session.options = program.opts<GlobalOptions>();
    });
  for (const add of commandGroups) add(program, session);
  program
    .command("master-key")
    .description("Rotate the master key of the gateway on this machine; `tdb master-key --help` says how")
    .allowUnknownOption()
    .allowExcessArguments();
  program
    .command("up")
    .description("Start the gateway in the foreground; `tdb up --help` lists its options")
    .allowUnknownOption()
    .allowExcessArguments();
  addExamples(program);
  return program;
}

const commandGroups: readonly ((program: Command, session: CliSession) => void)[] = [
  addAccountCommands,
  addConfigCommands,
  addProjectCommands,
  addClientCertificateCommands,
  addApiKeyCommands,
  addWorkspaceCommands,
  addImportCommands,
  addBlueprintCommands,
  addTenantCommands,
  addDeploymentCommands,
  addQueryCommand,
  addOperationsCommands,
  addClusterCommands,
  addPsqlCommand,
  addBenchCommand,
  addPgbouncerCommand,
  addCompletionCommand,
  addVersionCommand,
];

/** Runs one command line. @returns the exit code. */
export async function runCli(args: readonly string[], host: CliHost): Promise<number> {
  const session = new CliSession(host);
  const program = buildProgram(session);
  try {
    await program.parseAsync(args[0] === "--version" || args[0] === "-V" ? ["version"] : [...args], { from: "user" });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    const options = program.opts<GlobalOptions>();
    const apiUrl = await session.target().then(
      (target) => target.apiUrl,
      () => options.apiUrl ?? "",
    );
    host.stderr.write(describeError(error, { json: options.json === true, verbose: options.verbose === true, apiUrl }));
    return exitCodeOf(error);
  }
}
