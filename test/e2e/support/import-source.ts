/** The shared database an import is made from: on a server of its own, reached by the gateway through a door that can be shut. */
import { join } from "node:path";
import pg from "pg";
import { type Door, openDoor } from "../../gateway/imports/door.ts";
import type { TestPostgres } from "../../support/postgres.ts";

/** Makes the empty database `shared`. The caller closes both. */
export async function openSource(server: TestPostgres): Promise<[Door, pg.Client]> {
  const { socketDir: host, port, user, password } = server.target;
  const door = await openDoor(join(host!, `.s.PGSQL.${port}`));
  const admin = await server.dialer.asAdmin(server.clusterId);
  await admin.query("CREATE DATABASE shared");
  await admin.close();
  const source = new pg.Client({ host, port, user, password, database: "shared" } as pg.ClientConfig);
  await source.connect();
  return [door, source];
}
