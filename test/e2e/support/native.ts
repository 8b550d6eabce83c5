/** Behind the gateway's back: sessions on the server itself, as its superuser and as the native roles, with the passwords the master key gives. */
import { createHash } from "node:crypto";
import { existsSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import type { NativeRole, PhysicalDatabase } from "../../../core/model.ts";
import { Secrets, toHex } from "../../../core/secrets.ts";
import { nodeCrypto } from "../../../gateway/runtime/crypto.ts";
import type { GatewayProcess } from "./gateway.ts";

export interface NativeServer {
  readonly secrets: Secrets;
  readonly socketDir: string;
  /** The physical database behind a client-visible name: `myapp_workspace`, `myapp__wayne`. */
  find(projectId: string, name: string): Promise<PhysicalDatabase>;
  /** `database` undefined: the maintenance database, where the control store is. */
  asSuperuser(database?: string): Promise<pg.Client>;
  as(database: PhysicalDatabase, role: NativeRole, more?: pg.ClientConfig): Promise<pg.Client>;
  /** One query as the superuser. */
  // biome-ignore lint/suspicious/noExplicitAny: rows are looked into field by field
  rows(database: string | undefined, sql: string, values?: readonly unknown[]): Promise<any[]>;
  close(): Promise<void>;
}

const findSql = `
SELECT d.cluster_id, d.name, d.password_generation FROM tenantry.databases d
  LEFT JOIN tenantry.workspaces w ON w.database_name = d.name
  LEFT JOIN tenantry.tenant_databases td ON td.database_name = d.name
  LEFT JOIN tenantry.workspaces b ON b.id = td.workspace_id
 WHERE d.project_id = $1 AND $2 IN (w.name || '_workspace', b.name || '__' || td.tenant_id)`;

export function openNativeServer(gateway: GatewayProcess): NativeServer {
  const { dataDir } = gateway;
  const key = Buffer.from(readFileSync(join(dataDir, "master.key"), "utf8").slice(0, 64), "hex");
  const secrets = new Secrets(nodeCrypto, key);
  const inside = join(dataDir, "socket");
  const socketDir = existsSync(inside) ? inside : join(tmpdir(), `tdb-${createHash("sha256").update(dataDir).digest("hex").slice(0, 16)}`);
  const kept = new Map<string, pg.Client>();
  const connect = async (config: pg.ClientConfig) => {
    const client = new pg.Client({ host: socketDir, port: 5432, ...gateway.superuser, ...config });
    client.on("error", () => undefined);
    await client.connect();
    return client;
  };
  const embedded = { user: "postgres", password: toHex(secrets.derive("embedded-superuser")) };
  const asSuperuser = (database = "postgres") => connect({ ...(gateway.superuser ?? embedded), database });
  const server: NativeServer = {
    secrets,
    socketDir,
    async find(projectId, name) {
      const [row] = await server.rows(undefined, findSql, [projectId, name]);
      if (!row) throw new Error(`no database ${name}`);
      return { clusterId: row.cluster_id, name: row.name, passwordGeneration: row.password_generation };
    },
    asSuperuser,
    as: (database, role, more = {}) =>
      connect({ user: `${database.name}_${role}`, password: secrets.nativeRolePassword(database, role), database: database.name, ...more }),
    async rows(database = "postgres", sql, values = []) {
      const client = kept.get(database) ?? (await asSuperuser(database));
      kept.set(database, client);
      return (await client.query(sql, values as unknown[])).rows;
    },
    async close() {
      await Promise.all([...kept.values()].map((client) => client.end()));
    },
  };
  return server;
}
