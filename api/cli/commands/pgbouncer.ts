/** tdb pgbouncer-config: the files of a PgBouncer between gateway and PostgreSQL. */
import { mkdir, rename, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { type Command, Option } from "commander";
import { readAnswer, segment } from "../../client.ts";
import type { CliSession } from "../session.ts";
import { wholeNumber } from "./options.ts";

interface PgbouncerOptions {
  readonly cluster: string;
  readonly out: string;
  readonly poolMode: "session" | "transaction";
  readonly listenPort: number;
  readonly watch?: boolean;
  readonly reloadCommand?: string;
}

const watchEveryMs = 1000;

const help = `
Needs operator_token of the gateway's configuration as --api-key or TDB_API_KEY, and a PgBouncer of version 1.18 or newer.

  $ TDB_API_KEY=<operator_token> tdb pgbouncer-config --out /etc/pgbouncer/tenantry
  $ pgbouncer -d /etc/pgbouncer/tenantry/pgbouncer.ini
  $ tdb pgbouncer-config --out /etc/pgbouncer/tenantry --watch --reload-command "pkill -HUP pgbouncer"

Then name it in the gateway's configuration and start the gateway anew:
  { "poolers": { "main": "postgresql://127.0.0.1:6432" } }`;

export function addPgbouncerCommand(program: Command, session: CliSession): void {
  program
    .command("pgbouncer-config")
    .description("Write the files of a PgBouncer between gateway and PostgreSQL")
    .option("--cluster <name>", "the server it stands before", "main")
    .option("--out <folder>", "where pgbouncer.ini and userlist.txt go", ".")
    .addOption(new Option("--pool-mode <mode>", "how PgBouncer lends connections").choices(["session", "transaction"]).default("session"))
    .option("--listen-port <port>", "PgBouncer's port", wholeNumber, 6432)
    .option("--watch", "go on: keep userlist.txt right as tenants come and go")
    .option("--reload-command <command>", "run by the shell after each change, to make PgBouncer read the files again")
    .addHelpText("after", help)
    .action(async (options: PgbouncerOptions) => {
      const folder = resolve(session.host.cwd, options.out);
      let files = await fetchFiles(session, options, folder);
      await mkdir(folder, { recursive: true, mode: 0o700 });
      await writeWhole(join(folder, "pgbouncer.ini"), files["pgbouncer.ini"]);
      await writeWhole(join(folder, "userlist.txt"), files["userlist.txt"]);
      session.host.stdout.write(`✓ ${join(folder, "pgbouncer.ini")}\n✓ ${join(folder, "userlist.txt")}\n`);
      await reload(session, options);
      while (options.watch) {
        await session.host.sleep(watchEveryMs);
        const next = await fetchFiles(session, options, folder);
        if (next["userlist.txt"] === files["userlist.txt"]) continue;
        await writeWhole(join(folder, "userlist.txt"), next["userlist.txt"]);
        await reload(session, options);
        files = next;
      }
    });
}

async function fetchFiles(session: CliSession, options: PgbouncerOptions, folder: string) {
  const client = await session.client();
  const query = { pool_mode: options.poolMode, listen_port: String(options.listenPort) };
  const { files } = await readAnswer(client.clusters[":id"].pgbouncer.$get({ param: { id: segment(options.cluster) }, query }));
  // PgBouncer takes a relative path from the folder it was started in.
  return { ...files, "pgbouncer.ini": files["pgbouncer.ini"].replace("auth_file = userlist.txt", `auth_file = ${join(folder, "userlist.txt")}`) };
}

/** Never half there: PgBouncer may read it at any moment. */
async function writeWhole(file: string, text: string): Promise<void> {
  await writeFile(`${file}.new`, text, { mode: 0o600 });
  await rename(`${file}.new`, file);
}

async function reload(session: CliSession, { reloadCommand }: PgbouncerOptions): Promise<void> {
  if (reloadCommand === undefined) return;
  const code = await session.host.run("sh", ["-c", reloadCommand], {});
  if (code !== 0) throw new Error(`--reload-command ended with ${code}; the files are written, PgBouncer does not know of them yet`);
}
