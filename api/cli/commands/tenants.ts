/** tdb tenants … */
import { type Command, Option } from "commander";
import { segment } from "../../client.ts";
import { UsageError } from "../errors.ts";
import { formatFields, formatTable, sanitize } from "../print.ts";
import type { CliSession } from "../session.ts";
import { formatAnswer } from "./answers.ts";
import { addTenantBackupCommands } from "./backups.ts";
import { addPaging, collect, type PagingOptions, pageQuery } from "./options.ts";
import { addSettingOptions, readSettings, type SettingOptions } from "./settings.ts";
import { addTenantLogCommands } from "./tenant-logs.ts";

export function addTenantCommands(program: Command, session: CliSession): void {
  const tenants = program.command("tenants").description("Tenants: one customer each, with databases of its own");
  addList(tenants, session);
  addCreate(tenants, session);
  addGet(tenants, session);

  tenants
    .command("delete")
    .description("Put a tenant in the trash for 7 days, or delete it at once")
    .argument("<tenant>")
    .option("--hard", "its databases are gone at once, for good")
    .action((id: string, options: { hard?: boolean }) =>
      session.show((client) => client.tenants[":id"].$delete({ param: { id: segment(id) }, query: options.hard ? { hard: "true" as const } : {} }), {
        quiet: (answer) => answer.tenant_id,
        human: (answer) => `✓ ${sanitize(answer.message)}`,
      }),
    );

  const changes = { suspend: "Refuse its connections", resume: "Let it connect again", restore: "Take it out of the trash" } as const;
  for (const verb of ["suspend", "resume", "restore"] as const) {
    tenants
      .command(verb)
      .description(changes[verb])
      .argument("<tenant>")
      .action((id: string) =>
        session.show((client) => client.tenants[":id"][verb].$post({ param: { id: segment(id) } }), {
          quiet: (answer) => answer.tenant_id,
          human: (answer) => `✓ Tenant ${sanitize(answer.tenant_id)} is ${answer.status}`,
        }),
      );
  }
  addSettings(tenants, session);
  addDeployments(tenants, session);
  addMove(tenants, session);
  addTenantLogCommands(tenants, session);
  addTenantBackupCommands(tenants, session);
}

function addList(tenants: Command, session: CliSession): void {
  addPaging(tenants.command("list"))
    .description("The project's tenants")
    .action(async (options: PagingOptions) => {
      await session.show((client) => client.tenants.$get({ query: pageQuery(options) }), {
        quiet: (listed) => listed.tenants.map((row) => row.tenant_id).join("\n"),
        human: (listed) =>
          formatTable(
            ["TENANT", "STATUS", "DATABASES", "CREATED"],
            listed.tenants.map((row) => [
              row.tenant_id,
              row.status,
              row.databases.map((database) => `${database.blueprint} v${database.version}`).join(", "),
              row.created_at,
            ]),
          ),
      });
    });
}

function addCreate(tenants: Command, session: CliSession): void {
  tenants
    .command("create")
    .description("Make a tenant; its connection strings are shown once")
    .requiredOption("--name <tenant>", "a-z, 0-9 and _")
    .requiredOption("--blueprint <names>", "with commas or repeated for several", collect, [])
    .addOption(new Option("--isolation <level>", "1: shared cluster, 2: dedicated (1 unless told)").choices(["1", "2"]))
    .option("--cluster <name>", "which one; the emptiest of its level unless told")
    .addHelpText(
      "after",
      "\nExamples:\n  $ tdb tenants create --name wayne --blueprint myapp\n  $ tdb tenants create --name globex --blueprint myapp --cluster eu2",
    )
    .action(async (options: { name: string; blueprint: string[]; isolation?: "1" | "2"; cluster?: string }) => {
      if (options.blueprint.length === 0) throw new UsageError("name the blueprint: --blueprint <name>");
      const { isolation, cluster } = options;
      const where = {
        ...(isolation !== undefined && { isolation_level: isolation === "2" ? (2 as const) : (1 as const) }),
        ...(cluster !== undefined && { cluster }),
      };
      const json = { tenant_id: options.name, databases: options.blueprint.map((blueprint) => ({ blueprint, ...where })) };
      await session.show((client) => client.tenants.$post({ json }), {
        quiet: (answer) => answer.databases.flatMap((database) => database.connection_string ?? []).join("\n"),
        human: (answer) =>
          [
            `✓ Tenant ${sanitize(answer.tenant_id)} is ${answer.status}. Keep its connection strings: they are not shown again.`,
            ...answer.databases.flatMap((database) => sanitize(database.connection_string ?? "")),
          ].join("\n"),
      });
    });
}

function addGet(tenants: Command, session: CliSession): void {
  tenants
    .command("get")
    .description("One tenant and its databases")
    .argument("<tenant>")
    .action((id: string) =>
      session.show((client) => client.tenants[":id"].$get({ param: { id: segment(id) } }), {
        quiet: (answer) => answer.status,
        human: (answer) => {
          const fields = formatFields([
            ["tenant", answer.tenant_id],
            ["status", answer.status],
            ["created", answer.created_at],
            ...(answer.trashed_at === null ? [] : [["in trash since", answer.trashed_at] as const]),
          ]);
          const rows = answer.databases.map((row) => [row.blueprint, row.database_type, row.version, row.isolation_level, row.connection_string]);
          return `${fields}\n${formatTable(["BLUEPRINT", "DATABASE", "VERSION", "ISOLATION", "CONNECTION STRING"], rows)}`;
        },
      }),
    );
}

const settingNames = ["max_rows_per_query", "query_timeout_ms", "max_connections", "allow_copy", "pool_mode", "slow_query_ms"] as const;

function addSettings(tenants: Command, session: CliSession): void {
  addSettingOptions(tenants.command("settings"))
    .description("Show the settings of a tenant, or give it its own")
    .argument("<tenant>")
    .option("--blueprint <name>", "needed when the tenant has several")
    .option("--unset <names>", "settings to take back to the workspace's value", collect, [])
    .action(async (id: string, options: SettingOptions & { blueprint?: string; unset: string[] }) => {
      const unknown = options.unset.find((name) => !settingNames.some((known) => known === name));
      if (unknown !== undefined) throw new UsageError(`--unset ${unknown}: no such setting; there are ${settingNames.join(", ")}`);
      const unset = Object.fromEntries(options.unset.map((name) => [name, null])) as { [K in (typeof settingNames)[number]]?: null };
      const json = options.unset.length > 0 ? { ...readSettings(options), ...unset } : readSettings(options);
      const request = { param: { id: segment(id) }, query: options.blueprint === undefined ? {} : { blueprint: options.blueprint } };
      await session.show(
        (client) => (json ? client.tenants[":id"].settings.$patch({ ...request, json }) : client.tenants[":id"].settings.$get(request)),
        { quiet: () => "", human: formatAnswer },
      );
    });
}

function addMove(tenants: Command, session: CliSession): void {
  tenants
    .command("move")
    .description("Move a tenant's database to another cluster; its connection strings stay as they are")
    .argument("<tenant>")
    .addOption(new Option("--isolation <level>", "1: shared cluster, 2: dedicated").choices(["1", "2"]))
    .option("--cluster <name>", "which one; the emptiest unless told")
    .option("--blueprint <name>", "needed when the tenant has several")
    .action(async (id: string, options: { isolation?: "1" | "2"; cluster?: string; blueprint?: string }) => {
      const { isolation, cluster, blueprint } = options;
      if (isolation === undefined && cluster === undefined) throw new UsageError("say where to: --isolation <level>, --cluster <name>, or both");
      const level = isolation === undefined ? {} : { isolation_level: isolation === "2" ? (2 as const) : (1 as const) };
      const json = { ...level, ...(cluster !== undefined && { cluster }), ...(blueprint !== undefined && { blueprint }) };
      await session.show((client) => client.tenants[":id"].isolation.$patch({ param: { id: segment(id) }, json }), {
        quiet: (answer) => answer.tenant_id,
        human: (answer) => `✓ Tenant ${sanitize(answer.tenant_id)} has moved`,
      });
    });
}

function addDeployments(tenants: Command, session: CliSession): void {
  addPaging(tenants.command("deployments"))
    .description("Deployments that included a tenant, and how they went for it")
    .argument("<tenant>")
    .action((id: string, options: PagingOptions) =>
      session.show((client) => client.tenants[":id"].deployments.$get({ param: { id: segment(id) }, query: pageQuery(options) }), {
        quiet: (answer) => answer.deployments.map((row) => row.id).join("\n"),
        human: (answer) =>
          formatTable(
            ["DEPLOYMENT", "BLUEPRINT", "VERSION", "RESULT", "MS", "ERROR"],
            answer.deployments.map((row) => [row.id, row.blueprint_name, row.version, row.result.status, row.result.duration_ms, row.result.error]),
          ),
      }),
    );
}
