/** One embedded PostgreSQL for a test file: fresh cluster, dialer, secrets; gone when the file is done. */
import { createHash, createHmac, pbkdf2, randomBytes, timingSafeEqual } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll } from "vitest";
import type { Crypto } from "../../core/crypto.ts";
import { silentLog } from "../../core/log.ts";
import type { PhysicalDatabase } from "../../core/model.ts";
import { Secrets } from "../../core/secrets.ts";
import { startEmbedded } from "../../gateway/embedded.ts";
import { type ClusterTarget, createSqlDialer, type PooledDialer } from "../../gateway/sql-dialer.ts";

const derive = promisify(pbkdf2);

/** Node's primitives behind core's interface. */
export const testCrypto: Crypto = {
  sha256: (data) => createHash("sha256").update(data).digest(),
  hmacSha256: (key, data) => createHmac("sha256", key).update(data).digest(),
  pbkdf2Sha256: (password, salt, iterations) => derive(password, salt, iterations, 32, "sha256"),
  randomBytes: (length) => randomBytes(length),
  equal: (a, b) => a.length === b.length && timingSafeEqual(a, b),
};

/** Under a master key nobody else has. */
export function testSecrets(): Secrets {
  return new Secrets(testCrypto, randomBytes(32));
}

export interface TestPostgres {
  /** Always `cluster_test`. */
  readonly clusterId: string;
  /** How to reach it as superuser: Unix socket folder, port, user, password. */
  readonly target: ClusterTarget;
  readonly secrets: Secrets;
  readonly dialer: PooledDialer;
  /** A name nobody has used yet; nothing is created. */
  freshDatabase(): PhysicalDatabase;
  stop(): Promise<void>;
}

export interface TestPostgresOptions {
  /** Folder of `initdb` and `postgres`; default: the npm package's. */
  readonly binDir?: string | undefined;
}

/** For global set-ups and scripts; test files use `useTestPostgres`. About 1.5 s. */
export async function startTestPostgres({ binDir }: TestPostgresOptions = {}): Promise<TestPostgres> {
  const dataDir = await mkdtemp(join(tmpdir(), "tdb-test-"));
  const password = randomBytes(16).toString("hex");
  const server = await startEmbedded({ dataDir, superuserPassword: password, log: silentLog, durable: false, maxConnections: 200, binDir });
  const clusterId = "cluster_test";
  const secrets = testSecrets();
  const dialer = createSqlDialer({ clusters: new Map([[clusterId, server.connection]]), secrets });
  return {
    clusterId,
    target: server.connection,
    secrets,
    dialer,
    freshDatabase: () => ({ clusterId, name: `tdb_${randomBytes(8).toString("hex")}`, passwordGeneration: 1 }),
    async stop() {
      await dialer.close();
      await server.stop();
      await rm(dataDir, { recursive: true, force: true });
    },
  };
}

/** Starts a server before the file's tests and stops it after them. Use the returned function inside hooks and tests only. */
export function useTestPostgres(options: TestPostgresOptions = {}): () => TestPostgres {
  let running: TestPostgres | undefined;
  beforeAll(async () => {
    running = await startTestPostgres(options);
  });
  afterAll(async () => {
    await running?.stop();
  });
  return () => {
    if (!running) throw new Error("the test server is only there inside hooks and tests");
    return running;
  };
}
