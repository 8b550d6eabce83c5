/** psql and node-postgres as users run them, with what they show on errors. */
import { readFileSync } from "node:fs";
import pg from "pg";
import { type Finished, type GatewayProcess, run } from "./gateway.ts";

export interface Target {
  readonly user: string;
  readonly password: string;
  readonly database: string;
  readonly sslmode?: "disable" | "require" | "verify-full" | "prefer";
}

/** One psql call: each statement with its own -c, unaligned, tuples only, stopping at the first error. */
export function psql(gateway: GatewayProcess, target: Target, ...statements: string[]): Promise<Finished> {
  const { pg_port, ca_file } = gateway.credentials;
  const sslmode = target.sslmode ?? "verify-full";
  const options = `host=localhost port=${pg_port} user=${target.user} dbname=${target.database} sslmode=${sslmode} sslrootcert=${ca_file}`;
  return run(
    "psql",
    [
      options,
      "-X",
      "-A",
      "-t",
      "-v",
      "ON_ERROR_STOP=1",
      "-v",
      "VERBOSITY=verbose",
      "-v",
      "SHOW_CONTEXT=always",
      ...statements.flatMap((s) => ["-c", s]),
    ],
    { PGPASSWORD: target.password, PGCONNECT_TIMEOUT: "20" },
  );
}

/** A node-postgres client over verified TLS, connected. */
export async function connect(gateway: GatewayProcess, target: Target, extra: pg.ClientConfig = {}): Promise<pg.Client> {
  const client = new pg.Client({ ...clientConfig(gateway, target), ...extra });
  client.on("error", () => undefined); // a server that ends the session is looked at where it is expected
  await client.connect();
  return client;
}

export function clientConfig(gateway: GatewayProcess, target: Target): pg.ClientConfig {
  const { pg_port, ca_file } = gateway.credentials;
  return {
    host: "localhost",
    port: pg_port,
    user: target.user,
    password: target.password,
    database: target.database,
    ssl: target.sslmode === "disable" ? false : { ca: readFileSync(ca_file, "utf8") },
  };
}

/** What a connection attempt or query fails with. @throws Error when it does not fail. */
export async function failure(work: Promise<unknown>): Promise<pg.DatabaseError> {
  try {
    await work;
  } catch (error) {
    return error as pg.DatabaseError;
  }
  throw new Error("it was expected to fail");
}

/** Reads user, password and database out of a connection string the API gave. */
export function parseTarget(connectionString: string): Target {
  const url = new URL(connectionString);
  return { user: url.username, password: decodeURIComponent(url.password), database: url.pathname.slice(1) };
}
