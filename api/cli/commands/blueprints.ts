/** tdb blueprints … */
import type { Command } from "commander";
import { segment } from "../../client.ts";
import { formatFields, formatTable, sanitize } from "../print.ts";
import type { CliSession } from "../session.ts";
import { addPaging, type PagingOptions, pageQuery } from "./options.ts";

export function addBlueprintCommands(program: Command, session: CliSession): void {
  const blueprints = program.command("blueprints").description("Blueprints: the versioned schemas tenants get");

  addPaging(blueprints.command("list"))
    .description("The project's blueprints")
    .action((options: PagingOptions) =>
      session.show((client) => client.blueprints.$get({ query: pageQuery(options) }), {
        quiet: (answer) => answer.blueprints.map((row) => row.name).join("\n"),
        human: (answer) =>
          formatTable(
            ["NAME", "DATABASE", "VERSION", "TENANTS", "BEHIND", "CREATED"],
            answer.blueprints.map((row) => [row.name, row.database, row.version, row.tenant_count, row.tenants_behind, row.created_at]),
          ),
      }),
    );

  blueprints
    .command("get")
    .description("One blueprint: its DDL, and which tenants are at which version")
    .argument("<name>")
    .action((name: string) =>
      session.show((client) => client.blueprints[":name"].$get({ param: { name: segment(name) } }), {
        quiet: (answer) => String(answer.version),
        human: (answer) =>
          [
            formatFields([
              ["name", answer.name],
              ["database", answer.database],
              ["version", answer.version],
              ["tenants", answer.tenant_count],
              ["tenants behind", answer.tenants_behind],
              ["fleet", answer.fleet.summary],
            ]),
            ...answer.tenants_per_version.map((row) => `  at version ${row.version}: ${row.tenants}`),
            ...answer.schema.map((sql) => `${sanitize(sql.replace(/;?\s*$/, ""))};`),
          ].join("\n"),
      }),
    );

  addPaging(blueprints.command("drift"))
    .description("Tenants whose schema is not what their version says, and how it differs")
    .argument("<name>")
    .action((name: string, options: PagingOptions) =>
      session.show((client) => client.blueprints[":name"].drift.$get({ param: { name: segment(name) }, query: pageQuery(options) }), {
        quiet: (answer) => answer.tenants.map((row) => row.tenant_id).join("\n"),
        human: (answer) =>
          `${sanitize(answer.fleet.summary)}; ${answer.fleet.unchecked} not compared yet\n${formatTable(
            ["TENANT", "VERSION", "CHANGE", "WHAT", "EXPECTED", "FOUND"],
            answer.tenants.flatMap((tenant) =>
              tenant.differences.map((row) => [tenant.tenant_id, tenant.version, row.change, `${row.kind} ${row.name}`, row.expected, row.found]),
            ),
          )}`,
      }),
    );

  addPaging(blueprints.command("versions"))
    .description("Versions of a blueprint, one per captured DDL statement")
    .argument("<name>")
    .action((name: string, options: PagingOptions) =>
      session.show((client) => client.blueprints[":name"].versions.$get({ param: { name: segment(name) }, query: pageQuery(options) }), {
        quiet: (answer) => answer.versions.map((row) => row.version).join("\n"),
        human: (answer) =>
          formatTable(
            ["VERSION", "COMMAND", "STATEMENT", "CAPTURED"],
            answer.versions.map((row) => [row.version, row.command_tag, row.sql, row.captured_at]),
          ),
      }),
    );
}
