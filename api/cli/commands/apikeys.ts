/** tdb apikeys … */
import { type Command, Option } from "commander";
import { segment } from "../../client.ts";
import { formatFields, formatTable, sanitize } from "../print.ts";
import type { CliSession } from "../session.ts";
import { addPaging, collect, type PagingOptions, pageQuery, readExpiry, wholeNumber } from "./options.ts";

interface CreateOptions {
  name: string;
  role: "read" | "write" | "admin";
  scopeType: "project" | "workspace" | "tenant";
  scopeValues: string[];
  expires?: string;
}

interface Secrets {
  readonly id: string;
  readonly key: string;
  readonly proxy_password: string;
  readonly connection_strings: readonly string[];
}

export function addApiKeyCommands(program: Command, session: CliSession): void {
  const keys = program.command("apikeys").description("Keys: a scope says which databases, a role says what may be done there");

  addPaging(keys.command("list"))
    .description("The project's keys, without their secrets")
    .action((options: PagingOptions) =>
      session.show((client) => client.apikeys.$get({ query: pageQuery(options) }), {
        quiet: (answer) => answer.api_keys.map((row) => row.id).join("\n"),
        human: (answer) =>
          formatTable(
            ["ID", "NAME", "KEY", "ROLE", "SCOPE", "EXPIRES", "LAST USED"],
            answer.api_keys.map((row) => [
              row.id,
              row.name,
              row.key,
              row.role,
              row.scope_type === "project" ? "project" : `${row.scope_type}: ${row.scope_values.join(", ")}`,
              row.expires_at,
              row.last_used_at,
            ]),
          ),
      }),
    );

  keys
    .command("create")
    .description("Make a key; its secrets are shown once")
    .requiredOption("--name <name>")
    .addOption(new Option("--role <role>").choices(["read", "write", "admin"]).default("admin"))
    .addOption(new Option("--scope-type <type>").choices(["project", "workspace", "tenant"]).default("project"))
    .option("--scope-values <names>", "workspace names or tenant ids, with commas or repeated", collect, [])
    .option("--expires <when>", "a time as 2027-01-31T00:00:00Z, or from now as 12h or 90d")
    .addHelpText(
      "after",
      `
Examples:
  $ tdb apikeys create --name ci --scope-type workspace --scope-values myapp
  $ tdb apikeys create --name report --role read --scope-type tenant --scope-values wayne --expires 90d`,
    )
    .action(async ({ name, role, scopeType, scopeValues, expires }: CreateOptions) => {
      const json = {
        name,
        role,
        scope_type: scopeType,
        scope_values: scopeValues,
        ...(expires !== undefined && { expires_at: readExpiry(expires) }),
      };
      await session.show((client) => client.apikeys.$post({ json }), {
        quiet: (answer) => answer.key,
        human: (answer) => `✓ Key made\n${formatSecrets(answer)}`,
      });
    });

  keys
    .command("delete")
    .description("Revoke a key; its open connections are closed")
    .argument("<key_id>")
    .action((id: string) =>
      session.show((client) => client.apikeys[":id"].$delete({ param: { id: segment(id) } }), {
        quiet: (answer) => answer.id,
        human: (answer) => `✓ ${sanitize(answer.message)}`,
      }),
    );

  keys
    .command("rotate")
    .description("New secrets for a key; the old ones go on for a while if told")
    .argument("<key_id>")
    .option("--grace-s <seconds>", "how long the old secrets go on working", wholeNumber, 0)
    .action((id: string, options: { graceS: number }) =>
      session.show((client) => client.apikeys[":id"].rotate.$post({ param: { id: segment(id) }, json: { grace_s: options.graceS } }), {
        quiet: (answer) => answer.key,
        human: (answer) => `✓ Key rotated\n${formatSecrets(answer)}`,
      }),
    );
}

function formatSecrets({ id, key, proxy_password, connection_strings }: Secrets): string {
  const fields = formatFields([
    ["id", id],
    ["key", key],
    ["proxy_password", proxy_password],
  ]);
  return [fields, "Keep them: they are not shown again.", ...connection_strings.map(sanitize)].join("\n");
}
