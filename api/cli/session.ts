/** One run of the command line: its options, where it connects, and how it shows answers. */
import { type Answering, type ApiClient, createClient, readAnswer } from "../client.ts";
import { type CliConfig, type LocalCredentials, readConfig, readLocalCredentials, writeConfig, writePrivateFile } from "./config.ts";
import { UsageError } from "./errors.ts";
import type { CliHost } from "./host.ts";
import { formatJson, sanitize } from "./print.ts";

export interface GlobalOptions {
  readonly json?: boolean;
  readonly quiet?: boolean;
  readonly verbose?: boolean;
  readonly output?: string;
  readonly apiUrl?: string;
  readonly apiKey?: string;
}

export interface Target {
  readonly apiUrl: string;
  readonly secret: string | undefined;
  /** Sent for sessions only: a key knows its project. */
  readonly projectId: string | undefined;
  /** Where the secret came from, for `config show`. */
  readonly source: "flag" | "environment" | "configuration file" | "session" | "credentials.json" | "none";
}

/** How an answer is shown: to people, and in one word per line with --quiet. */
export interface View<T> {
  readonly human: (answer: T) => string;
  readonly quiet?: (answer: T) => string;
}

const defaultApiUrl = "http://127.0.0.1:9876";

export class CliSession {
  readonly host: CliHost;
  options: GlobalOptions = {};
  #config: CliConfig | undefined;
  #local: LocalCredentials | undefined;

  constructor(host: CliHost) {
    this.host = host;
  }

  async config(): Promise<CliConfig> {
    this.#config ??= await readConfig(this.host);
    return this.#config;
  }

  async saveConfig(config: CliConfig): Promise<void> {
    await writeConfig(this.host, config);
    this.#config = config;
  }

  async localCredentials(): Promise<LocalCredentials | undefined> {
    this.#local ??= await readLocalCredentials(this.host);
    return this.#local;
  }

  /** Flags, then environment, then the configuration file, then what a gateway started here left behind. */
  async target(): Promise<Target> {
    const { env } = this.host;
    const config = await this.config();
    const local = await this.localCredentials();
    const apiUrl = this.options.apiUrl || env.TDB_API_URL || config.api_url || local?.api_url || defaultApiUrl;
    if (!/^https?:\/\//.test(apiUrl) || !URL.canParse(apiUrl))
      throw new UsageError(`the API address must be a http:// or https:// URL, not ${apiUrl}`);
    const found = (source: Target["source"], secret: string | undefined, projectId?: string) => ({ apiUrl, secret, projectId, source });
    if (this.options.apiKey) return found("flag", this.options.apiKey);
    if (env.TDB_API_KEY) return found("environment", env.TDB_API_KEY);
    if (config.api_key) return found("configuration file", config.api_key);
    if (config.session_token) return found("session", config.session_token, config.project_id);
    // A key is only sent to the gateway it belongs to.
    if (local && new URL(local.api_url).origin === new URL(apiUrl).origin) return found("credentials.json", local.api_key);
    return found("none", undefined);
  }

  async client(): Promise<ApiClient> {
    const { apiUrl, secret, projectId } = await this.target();
    return createClient({ apiUrl, secret, projectId, fetch: this.host.fetch });
  }

  /** Calls the API and shows the answer. */
  async show<T>(call: (client: ApiClient) => Promise<Answering<T>>, view: View<T>): Promise<void> {
    const answer = await this.ask(call);
    await this.print(answer, view);
    const next = (answer as { next_cursor?: string | null }).next_cursor;
    if (next) this.note(`There is more: --cursor ${sanitize(next)}`);
  }

  async ask<T>(call: (client: ApiClient) => Promise<Answering<T>>): Promise<T> {
    const client = await this.client();
    const startedMs = performance.now();
    try {
      return await readAnswer(call(client));
    } finally {
      if (this.options.verbose)
        this.host.stderr.write(`${(await this.target()).apiUrl} answered after ${Math.round(performance.now() - startedMs)} ms\n`);
    }
  }

  async print<T>(answer: T, view: View<T>): Promise<void> {
    const { json, quiet, output } = this.options;
    const text = json ? formatJson(answer) : quiet ? (view.quiet?.(answer) ?? "") : view.human(answer);
    if (text === "") return;
    if (output) await writePrivateFile(output, `${text}\n`);
    else this.host.stdout.write(`${text}\n`);
  }

  /** A remark for people, beside the answer. */
  note(text: string): void {
    if (!this.options.quiet && !this.options.json) this.host.stderr.write(`${text}\n`);
  }

  /** A password from an option, the environment or the terminal. @throws {UsageError} when there is none. */
  async readPassword(given: string | undefined, variable: string, prompt: string): Promise<string> {
    const password = given ?? this.host.env[variable] ?? (await this.host.readSecret(prompt));
    if (!password) throw new UsageError(`a password is needed: set ${variable}, or run this on a terminal to be asked`);
    return password;
  }
}
