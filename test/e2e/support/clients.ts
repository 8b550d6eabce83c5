/** psql and node-postgres as users run them, with what they show on errors. */
import { type ChildProcess, spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { Socket } from "node:net";
import pg from "pg";
import { collect, type Finished, type GatewayProcess } from "./gateway.ts";

export interface Target {
  readonly user: string;
  readonly password: string;
  readonly database: string;
  readonly sslmode?: "disable" | "require" | "verify-full" | "prefer";
  /** More of libpq's connection options: `channel_binding=require`. */
  readonly options?: string;
}

/** One psql call: each statement with its own -c, unaligned, tuples only, stopping at the first error. */
export function psql(gateway: GatewayProcess, target: Target, ...statements: string[]): Promise<Finished> {
  return collect(
    spawnPsql(
      gateway,
      target,
      statements.flatMap((s) => ["-c", s]),
    ),
  );
}

/** psql with its input as a script, which goes on after errors. */
export function psqlScript(gateway: GatewayProcess, target: Target, script: string): Promise<Finished> {
  return collect(spawnPsql(gateway, target, ["-v", "ON_ERROR_STOP=0"]), script);
}

export function spawnPsql(gateway: GatewayProcess, target: Target, args: readonly string[]): ChildProcess {
  const { pg_port, ca_file } = gateway.credentials;
  const { user, database, sslmode = "verify-full", options = "" } = target;
  const connection = `host=localhost port=${pg_port} user=${user} dbname=${database} sslmode=${sslmode} sslrootcert=${ca_file} ${options}`;
  const settings = ["ON_ERROR_STOP=1", "VERBOSITY=verbose", "SHOW_CONTEXT=always"].flatMap((setting) => ["-v", setting]);
  return spawn("psql", [connection, "-X", "-A", "-t", ...settings, ...args], {
    env: { PATH: process.env.PATH ?? "", HOME: "/nonexistent", LC_ALL: "C.UTF-8", PGPASSWORD: target.password, PGCONNECT_TIMEOUT: "30" },
    stdio: ["pipe", "pipe", "pipe"],
  });
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

/** node-postgres from another loopback address, which has limits and bans of its own. */
export function from(localAddress: string): pg.ClientConfig {
  const stream = () => {
    const socket = new Socket();
    const dial = socket.connect.bind(socket) as (options: object) => Socket;
    // The one form node-postgres uses.
    socket.connect = ((port: number) => dial({ host: "127.0.0.1", port, localAddress })) as typeof socket.connect;
    return socket;
  };
  return { stream, host: "localhost" };
}

/** The error the server ends an open session with. */
export function ending(client: pg.Client): Promise<pg.DatabaseError> {
  return new Promise((ended) => client.once("error", (error) => ended(error as pg.DatabaseError)));
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

/** SQLSTATE and message of what it fails with. */
export async function refusal(work: Promise<unknown>): Promise<[string | undefined, string]> {
  const { code, message } = await failure(work);
  return [code, message];
}

/** Reads user, password and database out of a connection string the API gave. */
export function parseTarget(connectionString: string): Target {
  const url = new URL(connectionString);
  return { user: url.username, password: decodeURIComponent(url.password), database: url.pathname.slice(1) };
}
