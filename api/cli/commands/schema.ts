/** tdb workspaces schema | diff | diff-skip | diff-revert | table: designing a workspace's schema. */
import { type Command, Option } from "commander";
import { templateNames } from "../../../core/schema-design.ts";
import { segment } from "../../client.ts";
import { UsageError } from "../errors.ts";
import { formatTable, sanitize } from "../print.ts";
import type { CliSession } from "../session.ts";
import { addPaging, type PagingOptions, pageQuery, trueOrFalse } from "./options.ts";
import { readStatement } from "./query.ts";

export function addSchemaCommands(workspaces: Command, session: CliSession): void {
  addSchema(workspaces, session);
  addDiff(workspaces, session);
  addSkip(workspaces, session);
  addRevert(workspaces, session);
  addTable(workspaces, session);
}

const schemaHelp = `
Without an option it shows the tables. With one it loads, all or nothing, and what is loaded becomes versions:
  $ tdb workspaces schema myapp --template saas
  $ tdb workspaces schema myapp --sql - < schema.sql
  $ tdb workspaces schema myapp --tables '[{"name": "plans", "columns": [{"name": "code", "type": "text", "primary_key": true}]}]'
  $ tdb workspaces schema myapp --database '{"host": "db.example", "database": "shop", "user": "me", "password": "…"}'
  $ tdb workspaces schema myapp --database '{"type": "MySQL", "host": "db.example", "database": "shop", "user": "me", "password": "…"}'
--tables, --sql and --database take - for standard input. Of a database the structure is read, never rows; what has no likeness is listed.
A server on this machine or in a private network: the gateway's setting import.allow_addresses has to allow it.`;

interface SchemaOptions {
  readonly template?: (typeof templateNames)[number];
  readonly tables?: string;
  readonly sql?: string;
  readonly database?: string;
}

function addSchema(workspaces: Command, session: CliSession): void {
  workspaces
    .command("schema")
    .description("Show the schema of a workspace, or load one: a template, JSON, SQL, another database")
    .argument("<workspace>")
    .addOption(new Option("--template <name>", "a schema to begin with").choices(templateNames))
    .addOption(new Option("--tables <json>", "tables as JSON"))
    .option("--sql <sql>", "SQL text")
    .option("--database <json>", "connection of a PostgreSQL or MySQL server")
    .addHelpText("after", schemaHelp)
    .action(async (id: string, options: SchemaOptions) => {
      const param = { id: segment(id) };
      const json = await readSource(session, options);
      if (json === undefined) {
        await session.show((client) => client.workspaces[":id"].schema.$get({ param }), {
          quiet: (answer) => answer.tables.map((table) => `${table.schema}.${table.name}`).join("\n"),
          human: (answer) =>
            formatTable(
              ["TABLE", "KIND", "DATA TRAVELS", "COLUMNS"],
              answer.tables.map((table) => [
                `${table.schema}.${table.name}`,
                table.kind,
                table.deploy_data ? "yes" : "",
                table.columns.map((column) => `${column.name} ${column.type}${column.primary_key ? " (key)" : ""}`).join(", "),
              ]),
            ),
        });
        return;
      }
      await session.show((client) => client.workspaces[":id"].schema.$post({ param, json: json as never }), {
        quiet: (answer) => String(answer.version),
        human: (answer) =>
          [
            answer.version === 0
              ? "✓ Schema loaded"
              : `✓ ${answer.statements} ${answer.statements === 1 ? "statement" : "statements"} loaded; the blueprint is at version ${answer.version}`,
            ...(answer.lost.length > 0 ? ["Not brought along:", ...answer.lost.map((line) => `  - ${sanitize(line)}`)] : []),
          ].join("\n"),
      });
    });
}

/** @returns undefined where nothing is to be loaded. The API checks what is in it. */
async function readSource(session: CliSession, options: SchemaOptions): Promise<Record<string, unknown> | undefined> {
  const given = Object.keys(options);
  if (given.length > 1) throw new UsageError("give one of --template, --tables, --sql and --database");
  if (options.template !== undefined) return { source: "template", template: options.template };
  if (options.sql !== undefined) return { source: "sql", sql: await readStatement(session, options.sql) };
  if (options.tables !== undefined) return { source: "json", tables: readJson("--tables", await readStatement(session, options.tables)) };
  if (options.database !== undefined)
    return { source: "database", connection: readJson("--database", await readStatement(session, options.database)) };
  return undefined;
}

function readJson(option: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UsageError(`${option} must be JSON: ${(error as Error).message}`);
  }
}

function addDiff(workspaces: Command, session: CliSession): void {
  addPaging(workspaces.command("diff"))
    .description("Changes that are not on every tenant yet, in the order they would be deployed")
    .argument("<workspace>")
    .addHelpText(
      "after",
      "\nPass one over with `tdb workspaces diff-skip`, undo it with `diff-revert`, bring the rest with `tdb deployments create`.",
    )
    .action((id: string, options: PagingOptions) =>
      session.show((client) => client.workspaces[":id"].diff.$get({ param: { id: segment(id) }, query: pageQuery(options) }), {
        quiet: (answer) => answer.changes.map((change) => String(change.ddl_id)).join("\n"),
        human: (answer) => {
          if (answer.count === 0) return "Nothing: every tenant has every change";
          const rows = answer.changes.map((change) => [
            change.ddl_id,
            change.version,
            `${change.tenants_behind} of ${answer.tenant_count}`,
            change.sql,
          ]);
          return `Pending DDL Changes\n${formatTable(["DDL_ID", "VERSION", "TENANTS WITHOUT", "STATEMENT"], rows)}`;
        },
      }),
    );
}

function addSkip(workspaces: Command, session: CliSession): void {
  workspaces
    .command("diff-skip")
    .description("Pass a change over: tenants never get it, the workspace keeps it")
    .argument("<workspace>")
    .argument("<ddl_id>", "as `tdb workspaces diff` shows it")
    .action((id: string, ddlId: string) =>
      session.show((client) => client.workspaces[":id"].diff[":ddl_id"].$delete({ param: { id: segment(id), ddl_id: segment(ddlId) } }), {
        quiet: (answer) => String(answer.version),
        human: (answer) => `✓ ${sanitize(answer.message)}: ${sanitize(answer.sql)}`,
      }),
    );
}

function addRevert(workspaces: Command, session: CliSession): void {
  workspaces
    .command("diff-revert")
    .description("Undo a change in the workspace, where it has an inverse")
    .argument("<workspace>")
    .argument("<ddl_id>", "as `tdb workspaces diff` shows it")
    .action((id: string, ddlId: string) =>
      session.show((client) => client.workspaces[":id"].diff[":ddl_id"].revert.$post({ param: { id: segment(id), ddl_id: segment(ddlId) } }), {
        quiet: (answer) => answer.undone_by.map((version) => String(version.version)).join("\n"),
        human: (answer) => {
          const end = answer.skipped ? "No tenant will see either." : "Tenants get both, in order, with the next deployment.";
          const ran = answer.undone_by.map((version) => `  ${sanitize(version.sql)}`);
          return [`✓ Version ${answer.reverted.version} is undone by`, ...ran, end].join("\n");
        },
      }),
    );
}

function addTable(workspaces: Command, session: CliSession): void {
  workspaces
    .command("table")
    .description("Make a table reference data: its rows travel with deployments and to new tenants")
    .argument("<workspace>")
    .argument("<table>", "name or schema.name")
    .requiredOption("--deploy-data <true|false>", "whether its rows travel", trueOrFalse)
    .addHelpText(
      "after",
      "\nBy primary key: missing rows are added, different ones made equal to the workspace's, others left alone.\n  $ tdb workspaces table myapp plans --deploy-data true",
    )
    .action((id: string, table: string, options: { deployData: boolean }) =>
      session.show(
        (client) =>
          client.workspaces[":id"].tables[":name"].$patch({
            param: { id: segment(id), name: segment(table) },
            json: { deploy_data: options.deployData },
          }),
        {
          quiet: (answer) => `${answer.schema}.${answer.name}`,
          human: (answer) =>
            `✓ Rows of ${sanitize(`${answer.schema}.${answer.name}`)} ${answer.deploy_data ? "travel with the next deployment and to new tenants" : "stay in the workspace"}`,
        },
      ),
    );
}
