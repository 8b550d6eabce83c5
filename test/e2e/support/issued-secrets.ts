/** The secrets a gateway gave out over its API, and where they must never be seen again: its log, and its embedded server's. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Api } from "./api.ts";

/** Fields of the API's answers that hold one. */
const secretFields = new Set(["key", "api_key", "password", "proxy_password", "session_token"]);

export class IssuedSecrets {
  readonly #all = new Set<string>();

  add(...secrets: readonly string[]): void {
    for (const secret of secrets) if (secret.length >= 16) this.#all.add(secret);
  }

  /** The same API, listened to. */
  watch(api: Api): Api {
    return async (...request) => {
      const answer = await api(...request);
      this.#collect(answer.body);
      return answer;
    };
  }

  #collect(value: unknown): void {
    if (typeof value !== "object" || value === null) return;
    for (const [name, inner] of Object.entries(value)) {
      if (typeof inner !== "string") this.#collect(inner);
      else if (secretFields.has(name)) this.add(inner);
      else if (name === "connection_string") this.add(decodeURIComponent(new URL(inner).password));
    }
  }

  /** @throws Error with the lines that hold one. */
  assertNotIn(log: string): void {
    const lines = log.split("\n").filter((line) => [...this.#all].some((secret) => line.includes(secret)));
    if (lines.length > 0) throw new Error(`secrets in the log:\n${lines.join("\n")}`);
  }
}

/** What the embedded server wrote, if there is one. */
export async function readServerLog(dataDir: string): Promise<string> {
  const folder = join(dataDir, "postgres/log");
  const names = await readdir(folder).catch(() => []);
  return (await Promise.all(names.map((name) => readFile(join(folder, name), "utf8")))).join("\n");
}
