/** What is compared: a way to reach the same PostgreSQL server, straight or through something in between. */

export interface Contender {
  /** `direct`, `pgbouncer`, `node`, `bun`, `deno`. */
  readonly name: string;
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
  /** The process in between; undefined for a direct connection. */
  readonly pid: number | undefined;
}

/** What libpq's programs need to connect, and nothing of the caller's own PG* variables. */
export function clientEnvironment(contender: Contender, tls: boolean): NodeJS.ProcessEnv {
  return {
    PATH: process.env.PATH,
    LC_ALL: "C",
    PGHOST: contender.host,
    PGPORT: String(contender.port),
    PGUSER: contender.user,
    PGPASSWORD: contender.password,
    PGDATABASE: contender.database,
    PGSSLMODE: tls ? "require" : "disable",
    PGGSSENCMODE: "disable",
    PGCONNECT_TIMEOUT: "30",
  };
}
