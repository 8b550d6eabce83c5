/** Conformance: libpq itself through STARTTLS, with our CA, up to a refusal it has to show. */

import assert from "node:assert/strict";
import { execFile, spawnSync } from "node:child_process";
import type { BytePipe } from "../../../../core/byte-pipe.ts";
import { bytesOf, type Case, Reader, type World } from "../harness.ts";

const canRun = () => spawnSync("psql", ["--version"]).status === 0;

export const psqlCases: readonly Case[] = [
  { name: "psql: verify-full reads the refusal inside TLS", canRun, run: verifyFull },
  { name: "psql: verify-full refuses another CA", canRun, run: otherCa },
];

const sslRequestBytes = 8;
const refusal = "connection rejected: not a database, just a test";

/** Answers every SSLRequest with TLS, and whatever comes inside with FATAL. */
async function refuser(world: World): Promise<number> {
  const { keyPem, certPem } = world.certificates.ours;
  const server = world.runtime.createTlsServer({ key: keyPem, cert: certPem, alpnProtocols: ["postgresql"] });
  const serve = async (pipe: BytePipe) => {
    const plain = new Reader(pipe);
    await plain.bytes(sslRequestBytes);
    pipe.pause();
    pipe.write(bytesOf("S"));
    const secure = await pipe.startTls(server, undefined, world.never);
    const reader = new Reader(secure);
    await reader.bytes(8);
    secure.end(fatal(refusal));
    await reader.end();
  };
  // psql leaving in the middle, as with the wrong CA, is what the case wants.
  return (await world.listen((pipe) => void serve(pipe).catch(() => pipe.destroy()))).port;
}

/** ErrorResponse. 'E' · int32 length · fields of a type byte and a cstring · 0. */
function fatal(message: string): Uint8Array {
  const body = Buffer.from(`SFATAL\0VFATAL\0C28000\0M${message}\0\0`);
  const head = Buffer.alloc(5, "E");
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}

function psql(port: number, caFile: string): Promise<string> {
  const target = `host=localhost hostaddr=127.0.0.1 port=${port} user=u dbname=d sslmode=verify-full sslrootcert=${caFile} connect_timeout=30`;
  return new Promise((resolve) => {
    execFile("psql", ["-X", "-c", "select 1", target], { env: { ...process.env, LC_ALL: "C" } }, (_error, _stdout, stderr) => resolve(stderr));
  });
}

async function verifyFull(world: World): Promise<void> {
  assert.match(await psql(await refuser(world), world.certificates.ours.caFile), new RegExp(`FATAL: +${refusal}`));
}

async function otherCa(world: World): Promise<void> {
  assert.match(await psql(await refuser(world), world.certificates.other.caFile), /certificate verify failed/);
}
