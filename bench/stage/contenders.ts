/** Everything compared with each other, up at the same time: straight, PgBouncer, and the gateway under each runtime. */
import type { OsUser } from "../../gateway/embedded/process.ts";
import type { Contender } from "./contender.ts";
import { addTenant, type RuntimeName, startGateway } from "./gateway.ts";
import { startPgBouncer } from "./pgbouncer.ts";
import type { PostgresServer } from "./postgres.ts";
import { createTables, fillTables } from "./tables.ts";

export interface Contenders {
  /** Straight first, then PgBouncer where it is installed, then the gateways. */
  readonly all: readonly Contender[];
  stop(): Promise<void>;
}

const directRole = "bench_direct";

export async function startContenders(
  dir: string,
  server: PostgresServer,
  user: OsUser | undefined,
  runtimes: readonly RuntimeName[],
): Promise<Contenders> {
  const stops: (() => Promise<void>)[] = [];
  const stop = async () => {
    for (const each of stops.splice(0).reverse()) await each();
  };
  try {
    const direct = await makeDirect(server);
    const all: Contender[] = [direct];
    const bouncer = await startPgBouncer(dir, server, direct, user);
    if (bouncer) {
      stops.push(bouncer.stop);
      all.push(bouncer.contender);
    }
    for (const runtime of runtimes) {
      const gateway = await startGateway(runtime, runtime, dir, server);
      stops.push(gateway.stop);
      all.push(await addTenant(gateway));
    }
    return { all, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** A database with the same tables, and a role like a tenant's: it may log in and read. */
export async function makeDirect(server: PostgresServer): Promise<Contender> {
  const password = "bench-direct";
  const admin = await server.connect("postgres");
  try {
    await admin.query(`CREATE ROLE ${directRole} LOGIN PASSWORD '${password}'`);
    await admin.query(`CREATE DATABASE ${directRole}`);
  } finally {
    await admin.end();
  }
  const owner = await server.connect(directRole);
  try {
    for (const sql of createTables) await owner.query(sql);
    await fillTables(owner);
    await owner.query(`GRANT SELECT ON ALL TABLES IN SCHEMA public TO ${directRole}`);
  } finally {
    await owner.end();
  }
  return { name: "direct", host: "127.0.0.1", port: server.port, user: directRole, password, database: directRole, pid: undefined };
}
