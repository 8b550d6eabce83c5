/** Gzip in both directions over async iterables, in the runtime's own threads. */
import { pipeline } from "node:stream/promises";
import { constants, createGunzip, createGzip } from "node:zlib";
import { damaged } from "../../core/byte-source.ts";

const chunkSize = 64 * 1024;

export async function* gzip(data: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  // Tables compress well at any level; this one keeps up with the server.
  yield* through(data, createGzip({ level: constants.Z_BEST_SPEED + 2, chunkSize }));
}

/** @throws {GatewayError} backup_unusable for what is not gzip, is cut or changed. */
export async function* gunzip(data: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array, void, undefined> {
  try {
    yield* through(data, createGunzip({ chunkSize }));
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw code === "Z_DATA_ERROR" || code === "Z_BUF_ERROR" ? damaged("it is not whole") : error;
  }
}

async function* through(data: AsyncIterable<Uint8Array>, transform: ReturnType<typeof createGzip>): AsyncGenerator<Uint8Array, void, undefined> {
  let failed: { error: unknown } | undefined;
  const pumping = pipeline(data, transform).catch((error: unknown) => {
    failed = { error };
  });
  try {
    for await (const chunk of transform) yield chunk as Uint8Array;
  } catch (error) {
    await pumping; // the source's own error, where it was that
    throw failed?.error ?? error;
  } finally {
    transform.destroy();
    await pumping;
  }
}
