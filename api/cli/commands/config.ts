/** tdb config set, tdb config show. */
import type { Command } from "commander";
import { configPath } from "../config.ts";
import { UsageError } from "../errors.ts";
import { formatFields } from "../print.ts";
import type { CliSession } from "../session.ts";

export function addConfigCommands(program: Command, session: CliSession): void {
  const config = program.command("config").description("Which gateway and key to use from now on");

  config
    .command("set")
    .description("Remember --api-url and --api-key in ~/.tenantsdb.json")
    .addHelpText("after", "\nExample:\n  $ tdb config set --api-url https://db.example.com:9876 --api-key tenantsdb_sk_…")
    .action(async () => {
      const { apiUrl, apiKey } = session.options;
      if (!apiUrl && !apiKey) throw new UsageError("name what to set: --api-url <url> or --api-key <key>");
      await session.target(); // refuses an address that is none
      const { session_token: token, ...kept } = await session.config();
      const changed = { ...kept, ...(apiUrl && { api_url: apiUrl }), ...(apiKey ? { api_key: apiKey } : token && { session_token: token }) };
      await session.saveConfig(changed);
      await session.print({ success: true, path: configPath(session.host) }, { quiet: () => "", human: (answer) => `✓ Saved in ${answer.path}` });
    });

  config
    .command("show")
    .description("The gateway and key in use, and where they come from")
    .action(async () => {
      const target = await session.target();
      const { project_id } = await session.config();
      const shown = {
        config_file: configPath(session.host),
        api_url: target.apiUrl,
        api_key: mask(target.secret),
        source: target.source,
        project_id: target.source === "credentials.json" ? ((await session.localCredentials())?.project_id ?? null) : (project_id ?? null),
      };
      await session.print(shown, { quiet: (answer) => answer.api_url, human: (answer) => formatFields(Object.entries(answer)) });
    });
}

/** Enough to recognise a key, not enough to use it. */
function mask(secret: string | undefined): string | null {
  return secret === undefined ? null : `${secret.slice(0, secret.startsWith("tenantsdb_sk_") ? 17 : 4)}…`;
}
