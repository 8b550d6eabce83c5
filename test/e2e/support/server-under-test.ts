/** Which PostgreSQL server the gateways of a test file stand before: the packaged one, unless the file says otherwise. */
import type pg from "pg";

/** A server for one data directory of the gateway. */
export interface ServerUnderTest {
  /** What `tdb up` is told about it. */
  readonly flags: readonly string[];
  /** How to log in as its superuser; undefined: as into the embedded server. */
  readonly superuser: pg.ClientConfig | undefined;
  remove(): Promise<void>;
}

export type MakeServer = () => Promise<ServerUnderTest>;

const packaged: ServerUnderTest = { flags: [], superuser: undefined, remove: async () => undefined };
let makeServer: MakeServer = async () => packaged;
const servers = new Map<string, Promise<ServerUnderTest>>();

/** From here on, each data directory of this file's gateways gets a server made so. */
export function standBefore(make: MakeServer): void {
  makeServer = make;
}

/** The one this data directory already has, or a new one. */
export function serverOf(dataDir: string): Promise<ServerUnderTest> {
  const known = servers.get(dataDir) ?? makeServer();
  servers.set(dataDir, known);
  return known;
}

export async function removeServerOf(dataDir: string): Promise<void> {
  const known = servers.get(dataDir);
  servers.delete(dataDir);
  await (await known)?.remove();
}
