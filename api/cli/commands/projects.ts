/** tdb projects … */
import type { Command } from "commander";
import { createClient, segment } from "../../client.ts";
import { CommandFailure, UsageError } from "../errors.ts";
import { formatFields, formatTable, sanitize } from "../print.ts";
import type { CliSession } from "../session.ts";
import { addPaging, type PagingOptions, pageQuery } from "./options.ts";

export function addProjectCommands(program: Command, session: CliSession): void {
  const projects = program.command("projects").description("Projects: the top boundary, with everything below it");

  addPaging(projects.command("list"))
    .description("Your projects; with an API key, its own")
    .action((options: PagingOptions) =>
      session.show((client) => client.projects.$get({ query: pageQuery(options) }), {
        quiet: (answer) => answer.projects.map((row) => row.project_id).join("\n"),
        human: (answer) =>
          formatTable(
            ["PROJECT", "NAME", "CREATED"],
            answer.projects.map((row) => [row.project_id, row.name, row.created_at]),
          ),
      }),
    );

  projects
    .command("create")
    .description("Make a project; its secrets are shown once and kept in ~/.tenantsdb.json")
    .requiredOption("--name <name>")
    .action(async (options: { name: string }) => {
      const made = await session.ask((client) => client.projects.$post({ json: options }));
      const config = await session.config();
      const { name, api_key, proxy_password } = made;
      await session.saveConfig({ ...config, projects: { ...config.projects, [made.project_id]: { name, api_key, proxy_password } } });
      await session.print(made, {
        quiet: (answer) => answer.project_id,
        human: (answer) =>
          `✓ Project made; \`tdb projects switch ${answer.project_id}\` to work on it\n${formatFields([
            ["project_id", answer.project_id],
            ["api_key", answer.api_key],
            ["proxy_password", answer.proxy_password],
          ])}`,
      });
    });

  projects
    .command("delete")
    .description("Delete a project and everything below it, databases included")
    .argument("<project_id>")
    .requiredOption("--confirm <project_id>", "the project's id again")
    .action(async (id: string, options: { confirm: string }) => {
      if (options.confirm !== id) throw new UsageError(`--confirm must repeat the project's id: --confirm ${id}`);
      await session.show((client) => client.projects[":id"].$delete({ param: { id: segment(id) }, query: { confirm: id } }), {
        quiet: (answer) => answer.project_id,
        human: (answer) => `✓ ${sanitize(answer.message)}`,
      });
      await forgetProject(session, id);
    });

  projects
    .command("switch")
    .description("Work on another project from now on")
    .argument("<project_id>")
    .action((id: string) => switchProject(session, id));
}

async function forgetProject(session: CliSession, id: string): Promise<void> {
  const { projects, ...config } = await session.config();
  const { [id]: gone, ...others } = projects ?? {};
  const current = config.project_id === id;
  if (!gone && !current) return;
  const { api_key, project_id, ...rest } = config;
  await session.saveConfig({ ...(current ? rest : config), projects: others });
}

async function switchProject(session: CliSession, id: string): Promise<void> {
  const { api_key: _replaced, ...config } = await session.config();
  const key = config.projects?.[id]?.api_key;
  if (!key) {
    if (!config.session_token) {
      throw new CommandFailure(`no key for ${id} is known here: log in with \`tdb login\`, or set its key with \`tdb config set --api-key …\``);
    }
    // The key in use may know its own project only; the session knows them all.
    const account = createClient({ apiUrl: (await session.target()).apiUrl, secret: config.session_token, fetch: session.host.fetch });
    await session.ask(() => account.projects[":id"].$get({ param: { id: segment(id) } }));
  }
  await session.saveConfig({ ...config, project_id: id, ...(key && { api_key: key }) });
  await session.print({ success: true, project_id: id }, { quiet: () => id, human: () => `✓ Working on ${sanitize(id)}` });
}
