/** Everything compared with each other, up at the same time: straight, PgBouncer, and the gateway under each runtime. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { OsUser } from "../../gateway/embedded/process.ts";
import type { BareRelayTask } from "./bare-relay.ts";
import { writeCertificate } from "./certificates.ts";
import { startChild, waitFor } from "./children.ts";
import type { Contender } from "./contender.ts";
import { addTenant, type PoolMode, type RuntimeName, runtimeCommand, startGateway } from "./gateway.ts";
import { findPgBouncer, startPgBouncer } from "./pgbouncer.ts";
import type { PostgresServer } from "./postgres.ts";
import { createTables, fillTables } from "./tables.ts";

export interface Contenders {
  /** Straight first, then PgBouncer where it is installed, then others of it where they were asked for, then the gateways, then bare relays where those were. */
  readonly all: readonly Contender[];
  stop(): Promise<void>;
}

const directRole = "bench_direct";

export interface Stage {
  readonly dir: string;
  readonly server: PostgresServer;
  readonly user: OsUser | undefined;
  readonly runtimes: readonly RuntimeName[];
  readonly poolMode: PoolMode;
  readonly pgbouncerBin: string | undefined;
  readonly pgbouncerTcp: boolean;
  readonly bareRelays: boolean;
}

export async function startContenders(stage: Stage): Promise<Contenders> {
  const stops: (() => Promise<void>)[] = [];
  const stop = async () => {
    for (const each of stops.splice(0).reverse()) await each();
  };
  try {
    const direct = await makeDirect(stage.server);
    const all: Contender[] = [direct];
    const installed = await findPgBouncer();
    const others = [
      { program: installed, kind: "installed" },
      { program: stage.pgbouncerTcp ? installed : undefined, kind: "tcp" },
      { program: stage.pgbouncerBin, kind: "other" },
    ] as const;
    for (const { program, kind } of others) {
      if (program === undefined) continue;
      const bouncer = await startPgBouncer({ ...stage, direct, program, kind });
      stops.push(bouncer.stop);
      all.push(bouncer.contender);
    }
    for (const runtime of stage.runtimes) {
      const gateway = await startGateway(runtime, runtime, stage.dir, stage.server);
      stops.push(gateway.stop);
      all.push(await addTenant(gateway, { pool_mode: stage.poolMode }));
    }
    for (const runtime of stage.bareRelays ? stage.runtimes : []) {
      const relay = await startBareRelay(stage, runtime, direct);
      stops.push(relay.stop);
      all.push(relay.contender);
    }
    return { all, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

export const bareRelayOf = (runtime: string) => `bare relay, ${runtime}`;

/** What the runtime's own sockets cost, without a gateway on top. */
async function startBareRelay(stage: Stage, runtime: RuntimeName, direct: Contender): Promise<{ contender: Contender; stop(): Promise<void> }> {
  const { certFile, keyFile } = await writeCertificate(stage.dir, undefined);
  const [key, cert] = [await readFile(keyFile, "utf8"), await readFile(certFile, "utf8")];
  const task: BareRelayTask = { key, cert, backend: join(stage.server.socketDir, `.s.PGSQL.${stage.server.port}`) };
  const [program, ...args] = runtimeCommand(runtime);
  const name = bareRelayOf(runtime);
  const child = startChild(name, program, [...args, fileURLToPath(new URL("./bare-relay.ts", import.meta.url)), JSON.stringify(task)]);
  try {
    const port = await waitFor(child, async () => Number(/^\d+/.exec(child.output())?.[0]) || undefined);
    return { contender: { ...direct, name, port, pid: child.pid }, stop: () => child.stop(5000) };
  } catch (error) {
    await child.stop();
    throw error;
  }
}

/** A database with the same tables, and a role like a tenant's: it may log in, read and write. */
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
    await owner.query(`GRANT SELECT, INSERT, UPDATE, DELETE, TRUNCATE ON ALL TABLES IN SCHEMA public TO ${directRole}`);
    await owner.query(`GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO ${directRole}`);
  } finally {
    await owner.end();
  }
  return { name: "direct", host: "127.0.0.1", port: server.port, user: directRole, password, database: directRole, pid: undefined };
}
