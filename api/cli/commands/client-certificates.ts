/** tdb client-certificates … */
import { readFile } from "node:fs/promises";
import type { Command } from "commander";
import { segment } from "../../client.ts";
import { UsageError } from "../errors.ts";
import { formatTable } from "../print.ts";
import type { CliSession } from "../session.ts";

interface Answer {
  readonly required: boolean;
  readonly certificates: readonly { subject: string; fingerprint: string; authority: boolean; expires_at: string }[];
}

const view = {
  quiet: (answer: Answer) => answer.certificates.map((each) => each.fingerprint).join("\n"),
  human: (answer: Answer) =>
    answer.required
      ? formatTable(
          ["SUBJECT", "AUTHORITY", "EXPIRES", "SHA-256"],
          answer.certificates.map((each) => [each.subject, each.authority ? "yes" : "no", each.expires_at, each.fingerprint]),
        )
      : "No client certificate is demanded.",
};

export function addClientCertificateCommands(program: Command, session: CliSession): void {
  const group = program.command("client-certificates").description("Client certificates (mTLS) the project's databases demand beside the password");
  group
    .command("show <project>")
    .description("Which are demanded")
    .action((id: string) => session.show((client) => client.projects[":id"]["client-certificates"].$get({ param: { id: segment(id) } }), view));
  group
    .command("set <project>")
    .description("Demand one of these, or one issued by an authority among them, of every new connection")
    .requiredOption("--file <pem>", "certificates in PEM")
    .action(async (id: string, options: { file: string }) => {
      const certificates = await readFile(options.file, "utf8").catch((error: Error) => {
        throw new UsageError(`--file: ${error.message}`);
      });
      await session.show(
        (client) => client.projects[":id"]["client-certificates"].$put({ param: { id: segment(id) }, json: { certificates } }),
        view,
      );
    });
  group
    .command("clear <project>")
    .description("Demand none any more")
    .action((id: string) => session.show((client) => client.projects[":id"]["client-certificates"].$delete({ param: { id: segment(id) } }), view));
}
