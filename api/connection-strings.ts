/** Connection strings as drivers take them, one form per engine. */
import type { EngineName } from "../core/model.ts";
import { type DatabaseName, formatDatabaseName } from "../core/scope.ts";
import type { ApiInfo, Endpoint } from "./context.ts";

/** Stands where a password is that was shown once, at creation, and is not kept. */
export const passwordPlaceholder = "<proxy_password>";

export interface Connection {
  readonly host: string;
  readonly port: number;
  readonly database: string;
  readonly user: string;
}

/** @returns undefined when the gateway has no listener for the engine. */
export function describeConnection(info: ApiInfo, engine: EngineName, projectId: string, name: DatabaseName): Connection | undefined {
  const endpoint = endpointOf(info, engine);
  if (!endpoint) return undefined;
  if (engine !== "Redis") return { ...endpoint, database: formatDatabaseName(name), user: projectId };
  return { ...endpoint, database: "0", user: name.kind === "tenant" ? name.tenant : name.workspace };
}

/** `postgresql://tdb_2abf90d3:secret@host:5432/myapp__wayne?sslmode=require` and its like. */
export function formatConnectionString(engine: EngineName, connection: Connection, password: string = passwordPlaceholder): string {
  const { host, port, database, user } = connection;
  const authority = `${user}:${password}@${host.includes(":") ? `[${host}]` : host}:${port}`;
  switch (engine) {
    case "PostgreSQL":
      return `postgresql://${authority}/${database}?sslmode=require`;
    case "MySQL":
      return `mysql://${authority}/${database}`;
    case "MongoDB":
      return `mongodb://${authority}/${database}?authMechanism=PLAIN&directConnection=true&tls=true`;
    case "Redis":
      return `rediss://${authority}/${database}`;
  }
}

function endpointOf(info: ApiInfo, engine: EngineName): Endpoint | undefined {
  switch (engine) {
    case "PostgreSQL":
      return { host: info.pgHost, port: info.pgPort };
    case "MySQL":
      return info.mysql;
    case "MongoDB":
      return info.mongodb;
    case "Redis":
      return info.redis;
  }
}
