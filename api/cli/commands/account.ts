/** tdb signup, tdb login, tdb logout. */
import type { Command } from "commander";
import { createClient } from "../../client.ts";
import { UsageError } from "../errors.ts";
import { formatFields, formatTable } from "../print.ts";
import type { CliSession } from "../session.ts";

export function addAccountCommands(program: Command, session: CliSession): void {
  addLogoutCommand(program, session);
  program
    .command("signup")
    .description("Make an account and its first project; remembers the project's key")
    .requiredOption("--email <email>")
    .option("--password <password>", "at least 8 characters; TDB_PASSWORD or the prompt keep it out of the process list")
    .option("--project <name>", "name of the first project", "My Project")
    .action(async (options: { email: string; password?: string; project: string }) => {
      const password = await session.readPassword(options.password, "TDB_PASSWORD", "Password (at least 8 characters): ");
      const json = { email: options.email, password, project_name: options.project };
      const made = await session.ask(async () => (await openClient(session)).signup.$post({ json }));
      const config = await session.config();
      await session.saveConfig({
        ...config,
        api_url: (await session.target()).apiUrl,
        api_key: made.api_key,
        project_id: made.project_id,
        projects: { ...config.projects, [made.project_id]: { name: made.name, api_key: made.api_key, proxy_password: made.proxy_password } },
      });
      await session.print(made, {
        quiet: (answer) => answer.project_id,
        human: (answer) =>
          `✓ Account and project made; the key is kept in ~/.tenantsdb.json\n${formatFields([
            ["project_id", answer.project_id],
            ["api_key", answer.api_key],
            ["proxy_password", answer.proxy_password],
          ])}`,
      });
    });

  program
    .command("login")
    .description("Log in for 24 hours and act as the account, on all its projects")
    .requiredOption("--email <email>")
    .option("--password <password>", "TDB_PASSWORD or the prompt keep it out of the process list")
    .action(async (options: { email: string; password?: string }) => {
      const password = await session.readPassword(options.password, "TDB_PASSWORD", "Password: ");
      const answer = await session.ask(async () => (await openClient(session)).login.$post({ json: { email: options.email, password } }));
      const { api_key: _replaced, project_id: current, ...config } = await session.config();
      const project = answer.projects.find((candidate) => candidate.project_id === current) ?? answer.projects[0];
      await session.saveConfig({
        ...config,
        api_url: (await session.target()).apiUrl,
        session_token: answer.token,
        ...(project && { project_id: project.project_id }),
      });
      await session.print(answer, {
        quiet: () => project?.project_id ?? "",
        human: () =>
          `✓ Logged in until ${answer.expires_at}, working on ${project?.project_id ?? "no project yet"}\n${formatTable(
            ["PROJECT", "NAME", "CREATED"],
            answer.projects.map((row) => [row.project_id, row.name, row.created_at]),
          )}`,
      });
    });
}

function addLogoutCommand(program: Command, session: CliSession): void {
  program
    .command("logout")
    .description("End the session of `tdb login`; its token stops working at once")
    .option("--everywhere", "end all sessions of the account")
    .action(async (options: { everywhere?: boolean }) => {
      const { session_token: token, ...config } = await session.config();
      if (!token) throw new UsageError("there is no session here: `tdb login` begins one");
      const { apiUrl } = await session.target();
      const client = createClient({ apiUrl, secret: token, fetch: session.host.fetch });
      const answer = await session.ask(async () => client.logout.$post({ json: { everywhere: options.everywhere ?? false } }));
      await session.saveConfig(config);
      await session.print(answer, { human: ({ sessions_ended: count }) => `✓ Logged out; ${count} session${count === 1 ? "" : "s"} ended` });
    });
}

/** Signing up and logging in send no key along. */
async function openClient(session: CliSession) {
  return createClient({ apiUrl: (await session.target()).apiUrl, fetch: session.host.fetch });
}
