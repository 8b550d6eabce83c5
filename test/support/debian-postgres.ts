/** Debian's PostgreSQL, server and client programs of one version: what the packages leave in /usr/lib/postgresql. */
import { existsSync, readdirSync } from "node:fs";

export interface DebianPostgres {
  readonly version: number;
  /** Folder of `initdb`, `postgres`, `pg_dump`, `pg_restore`, `psql`. */
  readonly binDir: string;
}

const root = "/usr/lib/postgresql";

/** The newest that is whole; undefined where none is installed, which `missing` says in words. */
export function findDebianPostgres(): DebianPostgres | undefined {
  const versions = existsSync(root) ? readdirSync(root).map(Number).filter(Number.isInteger) : [];
  return versions
    .sort((a, b) => b - a)
    .map((version) => ({ version, binDir: `${root}/${version}/bin` }))
    .find(({ binDir }) => ["initdb", "postgres", "pg_dump", "pg_restore", "psql"].every((name) => existsSync(`${binDir}/${name}`)));
}

export const missingDebianPostgres = "Debian's package postgresql, with server, pg_dump and pg_restore of one version, is not installed";
