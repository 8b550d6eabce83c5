/** Files the API sends: saved as they come, readable by their owner only, and believed when their checksum is right. */
import { createHash } from "node:crypto";
import { open, rename, rm } from "node:fs/promises";
import { readAnswer, UnreachableError } from "../client.ts";
import { CommandFailure } from "./errors.ts";

export interface Saved {
  readonly path: string;
  readonly size_bytes: number;
  readonly sha256: string;
}

/** @param path where to; else the name the API gives it, in the working directory. @throws {ApiError} when it was refused */
export async function saveDownload(pending: Promise<Response>, path: string | undefined): Promise<Saved> {
  const response = await pending.catch((error: unknown) => {
    throw new UnreachableError("the API does not answer", error);
  });
  if (response.status >= 400 || !response.body) await readAnswer(Promise.resolve(response));
  const named = /filename="([\w.-]+)"/.exec(response.headers.get("content-disposition") ?? "")?.[1];
  const target = path ?? named ?? "download";
  const part = `${target}.part`;
  try {
    const saved = await save(response.body!, part);
    const expected = response.headers.get("x-content-sha256");
    if (expected !== null && expected !== saved.sha256) throw new CommandFailure(`${target} did not come whole: its checksum is wrong. Try again`);
    await rename(part, target);
    return { path: target, ...saved };
  } catch (error) {
    await rm(part, { force: true });
    throw error;
  }
}

async function save(body: ReadableStream<Uint8Array>, path: string): Promise<Omit<Saved, "path">> {
  const hash = createHash("sha256");
  const file = await open(path, "w", 0o600);
  let size = 0;
  try {
    for await (const chunk of received(body)) {
      hash.update(chunk);
      size += chunk.length;
      await file.writeFile(chunk);
    }
  } finally {
    await file.close();
  }
  return { size_bytes: size, sha256: hash.digest("hex") };
}

async function* received(body: ReadableStream<Uint8Array>): AsyncGenerator<Uint8Array> {
  const reader = body.getReader();
  for (;;) {
    const { done, value } = await reader.read().catch((error: unknown) => {
      throw new UnreachableError("the API broke off", error);
    });
    if (done) return;
    yield value;
  }
}
