/** tdb workspaces … */
import { type Command, Option } from "commander";
import { engineNames } from "../../../core/model.ts";
import { segment } from "../../client.ts";
import { formatFields, formatTable, sanitize } from "../print.ts";
import type { CliSession } from "../session.ts";
import { formatAnswer, queryView } from "./answers.ts";
import { addWorkspaceBackupCommands } from "./backups.ts";
import { addPaging, type PagingOptions, pageQuery, repeat } from "./options.ts";
import { readStatement } from "./query.ts";
import { addSchemaCommands } from "./schema.ts";
import { addSettingOptions, readSettings, type SettingOptions } from "./settings.ts";
import { addWorkspaceLogCommands } from "./tenant-logs.ts";

export function addWorkspaceCommands(program: Command, session: CliSession): void {
  const workspaces = program.command("workspaces").description("Workspaces: real databases where a schema is designed");
  addList(workspaces, session);
  addCreate(workspaces, session);
  addGet(workspaces, session);
  addSchemaCommands(workspaces, session);

  workspaces
    .command("delete")
    .description("Delete a workspace, its database and its blueprint; refused while it has tenants")
    .argument("<workspace>")
    .action((id: string) =>
      session.show((client) => client.workspaces[":id"].$delete({ param: { id: segment(id) } }), {
        quiet: (answer) => answer.name,
        human: (answer) => `✓ ${sanitize(answer.message)}`,
      }),
    );

  workspaces
    .command("query")
    .description("Run one statement in a workspace")
    .argument("<workspace>")
    .requiredOption("--query <sql>", "the statement; - reads it from standard input")
    .option("--param <value>", "value of $1, $2 … (repeat it)", repeat, [])
    .addHelpText("after", `\nExample:\n  $ tdb workspaces query myapp --query "CREATE TABLE accounts (id serial PRIMARY KEY)"`)
    .action(async (id: string, options: { query: string; param: string[] }) => {
      const json = { query: await readStatement(session, options.query), params: options.param };
      await session.show((client) => client.workspaces[":id"].queries.$post({ param: { id: segment(id) }, json }), queryView);
    });

  addSettingOptions(workspaces.command("settings"))
    .description("Show the settings of a workspace, or change those you name")
    .argument("<workspace>")
    .addHelpText("after", "\nExample:\n  $ tdb workspaces settings myapp --max-connections 20 --query-timeout-ms 5000")
    .action(async (id: string, options: SettingOptions) => {
      const json = readSettings(options);
      const param = { id: segment(id) };
      await session.show(
        (client) => (json ? client.workspaces[":id"].settings.$patch({ param, json }) : client.workspaces[":id"].settings.$get({ param })),
        { quiet: () => "", human: formatAnswer },
      );
    });
  addWorkspaceLogCommands(workspaces, session);
  addWorkspaceBackupCommands(workspaces, session);
}

function addList(workspaces: Command, session: CliSession): void {
  addPaging(workspaces.command("list"))
    .description("The project's workspaces")
    .action((options: PagingOptions) =>
      session.show((client) => client.workspaces.$get({ query: pageQuery(options) }), {
        quiet: (answer) => answer.workspaces.map((row) => row.name).join("\n"),
        human: (answer) =>
          formatTable(
            ["NAME", "ID", "DATABASE", "MODE", "STATUS", "CREATED"],
            answer.workspaces.map((row) => [row.name, row.id, row.database, row.mode, row.status, row.created_at]),
          ),
      }),
    );
}

function addCreate(workspaces: Command, session: CliSession): void {
  workspaces
    .command("create")
    .description("Make a workspace; in tenant mode its blueprint comes with it")
    .requiredOption("--name <name>", "a-z, 0-9, _ and -")
    .addOption(new Option("--database <engine>").choices(engineNames).default("PostgreSQL"))
    .addOption(
      new Option("--mode <mode>", "tenant: DDL becomes versions; control: a plain database").choices(["tenant", "control"]).default("tenant"),
    )
    .option("--redirect-to <host:port>", "where clients of MySQL, MongoDB or Redis should connect")
    .action(async (options: { name: string; database: (typeof engineNames)[number]; mode: "tenant" | "control"; redirectTo?: string }) => {
      const { name, database, mode, redirectTo } = options;
      const json = { name, database, mode, ...(redirectTo !== undefined && { redirect_to: redirectTo }) };
      await session.show((client) => client.workspaces.$post({ json }), {
        quiet: (answer) => answer.name,
        human: (answer) => `✓ Workspace made; \`tdb psql ${answer.name}\` opens it\n${cellOrNothing(answer.connection_string)}`,
      });
    });
}

function addGet(workspaces: Command, session: CliSession): void {
  workspaces
    .command("get")
    .description("One workspace: tables, version, what is not deployed yet")
    .argument("<workspace>")
    .action((id: string) =>
      session.show((client) => client.workspaces[":id"].$get({ param: { id: segment(id) } }), {
        quiet: (answer) => answer.name,
        human: (answer) => {
          const fields = formatFields([
            ["name", answer.name],
            ["id", answer.id],
            ["database", answer.database],
            ["mode", answer.mode],
            ["status", answer.status],
            ["version", answer.version],
            [
              "data travels",
              answer.schema.tables
                .filter((table) => table.deploy_data)
                .map((table) => `${table.schema}.${table.name}`)
                .join(", ") || "of no table",
            ],
            ["undeployed_changes", answer.undeployed_changes],
            ["connection_string", answer.connection_string],
          ]);
          const columns = answer.schema.tables.map((table) => [
            `${table.schema}.${table.name}`,
            table.kind,
            table.columns.map((column) => `${column.name} ${column.type}${column.primary_key ? " (key)" : ""}`).join(", "),
          ]);
          return `${fields}\n${formatTable(["TABLE", "KIND", "COLUMNS"], columns)}`;
        },
      }),
    );
}

function cellOrNothing(text: string | null): string {
  return text === null ? "" : sanitize(text);
}
