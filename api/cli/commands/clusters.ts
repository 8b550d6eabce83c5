/** tdb clusters: the servers that host databases, for the gateway's operator. */
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import type { Command } from "commander";
import { segment } from "../../client.ts";
import { UsageError } from "../errors.ts";
import { formatTable, sanitize } from "../print.ts";
import type { CliSession, View } from "../session.ts";
import { type AuditOptions, addAuditOptions, auditQuery, auditView } from "./operations.ts";
import { addPaging, type PagingOptions, pageQuery } from "./options.ts";

interface Cluster {
  readonly id: string;
  readonly server: string | null;
  readonly origin: "configuration" | "api" | null;
  readonly isolation_level: 1 | 2;
  readonly databases: number;
  readonly backend_budget: number;
  readonly backends: { readonly open: number; readonly idle: number; readonly leased: number };
  readonly waiting_clients: number;
}

interface ReachOptions {
  readonly connection?: string;
  readonly caFile?: string;
}

const help = (command: string) => `
Needs operator_token of the gateway's configuration as --api-key or TDB_API_KEY. TDB_CLUSTER_CONNECTION keeps the password out of
the process list.

Example:
  $ TDB_CLUSTER_CONNECTION='postgresql://postgres:secret@db2.example:5432/postgres?sslmode=require' tdb clusters ${command}`;

const view: View<Cluster> = { quiet: ({ id }) => id, human: (cluster) => table([cluster]) };

export function addClusterCommands(program: Command, session: CliSession): void {
  const clusters = program.command("clusters").description("Servers that host databases; for the operator of the gateway");
  addPaging(clusters.command("list", { isDefault: true }))
    .description("The servers, and how full they are")
    .action((options: PagingOptions) =>
      session.show((client) => client.clusters.$get({ query: pageQuery(options) }), {
        quiet: (answer) => answer.clusters.map(({ id }) => id).join("\n"),
        human: (answer) => table(answer.clusters),
      }),
    );
  addReach(clusters.command("add"))
    .description("Add a server; tenants with isolation_level 2 go to the emptiest of those added")
    .requiredOption("--name <name>", "what it is called from now on")
    .addHelpText("after", help("add --name eu2"))
    .action(async ({ name, ...options }: ReachOptions & { name: string }) => {
      const reach = await readReach(session, options);
      await session.show<Cluster>((client) => client.clusters.$post({ json: { name, ...reach } }), view);
    });
  addReach(clusters.command("update"))
    .description("Reach an added server in another way: a new password, address or certificate")
    .argument("<cluster>")
    .addHelpText("after", help("update eu2"))
    .action(async (id: string, options: ReachOptions) => {
      const json = await readReach(session, options);
      await session.show<Cluster>((client) => client.clusters[":id"].$patch({ param: { id: segment(id) }, json }), view);
    });
  clusters
    .command("remove")
    .description("Remove an added server that hosts no tenant any more")
    .argument("<cluster>")
    .action((id: string) =>
      session.show((client) => client.clusters[":id"].$delete({ param: { id: segment(id) } }), {
        quiet: (answer) => answer.id,
        human: (answer) => `✓ ${sanitize(answer.message)}`,
      }),
    );
  addAuditOptions(clusters.command("audit"))
    .description("What was added, changed and removed, the newest first")
    .action((options: AuditOptions) => session.show((client) => client.clusters.audit.$get({ query: auditQuery(options) }), auditView));
}

function addReach(command: Command): Command {
  return command
    .option("--connection <url>", "postgresql://user:password@host:5432/postgres?sslmode=require, as a role that may create databases and roles")
    .option("--ca-file <file>", "certificate of the authority to believe, with sslmode=verify-full");
}

async function readReach(session: CliSession, { connection, caFile }: ReachOptions) {
  const url = connection ?? session.host.env.TDB_CLUSTER_CONNECTION;
  if (!url) throw new UsageError("say where the server is: --connection <url>, or TDB_CLUSTER_CONNECTION");
  if (caFile === undefined) return { connection: url };
  return { connection: url, ca: await readFile(resolve(session.host.cwd, caFile), "utf8") };
}

function table(clusters: readonly Cluster[]): string {
  return formatTable(
    ["NAME", "SERVER", "FROM", "LEVEL", "DATABASES", "BACKENDS", "BUDGET", "WAITING"],
    clusters.map((row) => [
      ...[row.id, row.server, row.origin, row.isolation_level, row.databases],
      ...[row.backends.open, row.backend_budget, row.waiting_clients],
    ]),
  );
}
