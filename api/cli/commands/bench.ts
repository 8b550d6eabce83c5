/** tdb bench: what a deployment costs where the application stands, beside a direct connection where one is given. */
import { readFile } from "node:fs/promises";
import type { Command } from "commander";
import type { ClientConfig } from "pg";
import { type BenchClient, type BenchResult, type BenchWay, runBench } from "../bench.ts";
import { findCaFile, findDatabase, findPassword } from "../database.ts";
import { CommandFailure, UsageError } from "../errors.ts";
import { formatTable } from "../print.ts";
import type { CliSession, View } from "../session.ts";
import { wholeNumber } from "./options.ts";

interface BenchOptions {
  readonly blueprint?: string;
  readonly password?: boolean;
  readonly connection?: string;
  readonly direct?: string;
  readonly clients: number;
  readonly seconds: number;
  readonly rounds: number;
  readonly query: string;
  readonly prepared?: boolean;
}

interface BenchAnswer {
  readonly clients: number;
  readonly seconds: number;
  readonly rounds: number;
  readonly query: string;
  readonly prepared: boolean;
  readonly results: readonly BenchResult[];
}

const examples = `
One client asks for latency, --clients of them for transactions a second, up to four connect again and again; each for --seconds, in turn with the
direct connection. The statement runs as it is: one that writes, writes. Connecting includes this process's own part of SCRAM.

Examples:
  $ TDB_PROXY_PASSWORD=tdb_… tdb bench wayne
  $ tdb bench --connection "$DATABASE_URL" --direct "$DIRECT_URL" --query 'SELECT * FROM accounts WHERE id = 1' --prepared`;

export function addBenchCommand(program: Command, session: CliSession): void {
  program
    .command("bench")
    .description("Measure latency, transactions and connections a second of a workspace or a tenant, from here")
    .argument("[database]", "a workspace, a tenant, or a full name as myapp_workspace or myapp__wayne")
    .option("--connection <url>", "a connection string in its place")
    .option("--direct <url>", "compare with this connection string, past the gateway")
    .option("--blueprint <name>", "which database of a tenant that has several")
    .option("--password", "ask for the proxy password (else TDB_PROXY_PASSWORD, or what is known)")
    .option("--clients <n>", "how many ask at a time for the rate", wholeNumber, 16)
    .option("--seconds <n>", "how long each measurement takes", wholeNumber, 3)
    .option("--rounds <n>", "how often; the medians are shown", wholeNumber, 3)
    .option("--query <sql>", "the statement to ask", "SELECT 1")
    .option("--prepared", "prepare it once per connection")
    .addHelpText("after", examples)
    .action(async (database: string | undefined, options: BenchOptions) => {
      const ways = await findWays(session, database, options);
      const { clients, seconds, rounds, query, prepared = false } = options;
      if (clients < 1 || clients > 1000 || seconds < 1 || rounds < 1)
        throw new UsageError("--clients is 1 to 1000; --seconds and --rounds are 1 at least");
      const results = await runBench(
        ways,
        { clients, seconds, rounds },
        () => performance.now(),
        (text) => session.note(text),
      ).catch(toFailure);
      await session.print({ clients, seconds, rounds, query, prepared, results }, benchView);
    });
}

const benchView: View<BenchAnswer> = {
  human: ({ clients, results }) =>
    formatTable(
      ["THROUGH", "P50 MS", "P99 MS", `TRANSACTIONS/S, ${clients} CLIENTS`, "CONNECTIONS/S"],
      results.map((each) => [
        each.through,
        each.latency_p50_ms.toFixed(2),
        each.latency_p99_ms.toFixed(2),
        each.transactions_per_s.toFixed(0),
        each.connections_per_s.toFixed(0),
      ]),
    ),
  quiet: ({ results }) => results.map((each) => `${each.through}\t${each.transactions_per_s.toFixed(0)}`).join("\n"),
};

function toFailure(error: unknown): never {
  throw new CommandFailure(`the measurement ended early: ${error instanceof Error ? error.message : String(error)}`);
}

async function findWays(session: CliSession, database: string | undefined, options: BenchOptions): Promise<readonly BenchWay[]> {
  const { connection, direct } = options;
  if ((database === undefined) === (connection === undefined))
    throw new UsageError("say what to measure: a workspace or tenant, or --connection <url>");
  const through = connection === undefined ? await knownConfig(session, database!, options) : await readConnectionString("--connection", connection);
  const ways = [wayOf("gateway", through, options)];
  if (direct !== undefined) ways.push(wayOf("direct", await readConnectionString("--direct", direct), options));
  return ways;
}

async function knownConfig(session: CliSession, name: string, options: BenchOptions): Promise<ClientConfig> {
  const found = await findDatabase(session, name, options.blueprint);
  const password = await findPassword(session, found, options.password === true);
  const caFile = await findCaFile(session, found.connection);
  // Without the CA at hand as sslmode=require: encrypted, the certificate not checked.
  const ssl = caFile ? { ca: await readFile(caFile, "utf8") } : { rejectUnauthorized: false };
  return { ...found.connection, password, ssl };
}

/** sslmode means what it means to libpq, which node-postgres reads otherwise. @throws {UsageError} */
export async function readConnectionString(option: string, text: string): Promise<ClientConfig> {
  if (!URL.canParse(text)) throw new UsageError(`${option} must be a connection string as postgresql://user:password@host:5432/database`);
  const url = new URL(text);
  if (url.protocol !== "postgresql:" && url.protocol !== "postgres:") throw new UsageError(`${option} must begin with postgresql://`);
  const mode = url.searchParams.get("sslmode") ?? "prefer";
  const caFile = url.searchParams.get("sslrootcert");
  const isVerified = mode === "verify-full" || mode === "verify-ca";
  return {
    host: url.searchParams.get("host") ?? decodeURIComponent(url.hostname),
    port: Number(url.port || 5432),
    user: decodeURIComponent(url.username),
    password: decodeURIComponent(url.password),
    database: decodeURIComponent(url.pathname.slice(1)),
    ...(mode !== "disable" &&
      mode !== "prefer" &&
      mode !== "allow" && {
        ssl: {
          rejectUnauthorized: isVerified,
          ...(isVerified && caFile !== null && { ca: await readFile(caFile, "utf8") }),
          ...(mode === "verify-ca" && { checkServerIdentity: () => undefined }),
        },
      }),
  };
}

function wayOf(name: string, config: ClientConfig, options: BenchOptions): BenchWay {
  return {
    name,
    async connect(): Promise<BenchClient> {
      const { default: pg } = await import("pg");
      const client = new pg.Client(config);
      client.on("error", () => undefined); // whoever asks is told as well
      await client.connect();
      const statement = options.prepared ? { name: "bench", text: options.query } : options.query;
      return { ask: () => client.query(statement), end: () => client.end() };
    },
  };
}
