/** Backups in a bucket of any S3-compatible service: parts of one size, one at a time, so that memory stays flat. */
import { S3mini } from "s3mini";
import { GatewayError } from "../../core/errors.ts";
import type { Log } from "../../core/log.ts";
import { StorageError } from "./directory-storage.ts";
import type { BackupStorage, S3Config } from "./storage.ts";

/** Up to 10,000 parts make an object: 160 GB. Services want parts of equal size, the last one excepted. */
const partBytes = 16 * 1024 * 1024;
/** For one request; of a download, up to its first byte. */
const requestTimeoutMs = 300_000;
const attempts = 4;

export interface S3Options extends S3Config {
  readonly log: Log;
  /** For tests. */
  readonly partBytes?: number;
}

export function createS3Storage(options: S3Options): BackupStorage {
  const client = new S3mini({
    endpoint: options.url,
    region: options.region,
    accessKeyId: options.accessKeyId,
    secretAccessKey: options.secretAccessKey,
    fetch: fetchWithin,
  });
  const size = options.partBytes ?? partBytes;
  return {
    kind: "s3",
    write: (key, data) => upload(client, key, inParts(data, size), size, options.log),
    async read(key) {
      const response = await ask("read", () => client.getObjectResponse(key));
      if (!response?.body) throw new GatewayError("backup_unusable", "The backup's object is not in the bucket any more");
      return response.body;
    },
    async remove(key) {
      await ask("delete from", () => client.deleteObject(key));
      await abortUploads(client, key, options.log);
    },
  };
}

/** Time is counted until the answer begins: a download may take as long as it takes. */
async function fetchWithin(input: string | URL | Request, init?: RequestInit): Promise<Response> {
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(new Error("the bucket does not answer")), requestTimeoutMs);
  try {
    return await fetch(input, { ...init, signal: abort.signal });
  } finally {
    clearTimeout(timer);
  }
}

async function* inParts(data: AsyncIterable<Uint8Array>, size: number): AsyncGenerator<Uint8Array> {
  let part = new Uint8Array(size);
  let filled = 0;
  for await (const chunk of data) {
    for (let at = 0; at < chunk.length; ) {
      const piece = chunk.subarray(at, at + size - filled);
      part.set(piece, filled);
      filled += piece.length;
      at += piece.length;
      if (filled < size) continue;
      yield part;
      part = new Uint8Array(size);
      filled = 0;
    }
  }
  if (filled > 0) yield part.subarray(0, filled);
}

async function upload(client: S3mini, key: string, parts: AsyncIterable<Uint8Array>, size: number, log: Log): Promise<void> {
  let uploadId: string | undefined;
  const done: { partNumber: number; etag: string }[] = [];
  try {
    for await (const part of parts) {
      if (uploadId === undefined && part.length < size) {
        await ask("write to", () => client.putObject(key, part, "application/gzip"));
        return;
      }
      uploadId ??= await ask("write to", () => client.getMultipartUploadId(key, "application/gzip"));
      const [id, number] = [uploadId, done.length + 1];
      done.push(await ask("write to", () => client.uploadPart(key, id, part, number)));
    }
    if (uploadId === undefined) throw new Error("nothing to store");
    const id = uploadId;
    await ask("write to", () => client.completeMultipartUpload(key, id, done));
  } catch (error) {
    if (uploadId !== undefined) await abortUpload(client, key, uploadId, log);
    throw error;
  }
}

/** Repeats what failed for a reason that may pass: every request here may be repeated. */
async function ask<T>(what: string, request: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await request();
    } catch (error) {
      if (attempt >= attempts || !mayPass(error)) throw new StorageError(`cannot ${what} the bucket: ${reasonOf(error)}`, { cause: error });
      await new Promise((resolve) => setTimeout(resolve, 250 * 2 ** attempt));
    }
  }
}

function statusOf(error: unknown): number | undefined {
  const { status } = error as { status?: unknown };
  return typeof status === "number" ? status : undefined;
}

function mayPass(error: unknown): boolean {
  const status = statusOf(error);
  return status === undefined || status >= 500 || status === 429 || status === 408;
}

/** The service's code, never its text, which may name keys and hosts. */
function reasonOf(error: unknown): string {
  const status = statusOf(error);
  if (status === undefined) return "it does not answer";
  const { serviceCode } = error as { serviceCode?: unknown };
  const code = typeof serviceCode === "string" && /^\w{1,60}$/.test(serviceCode) && serviceCode !== "Unknown" ? ` ${serviceCode}` : "";
  return `it says ${status}${code}`;
}

async function abortUpload(client: S3mini, key: string, uploadId: string, log: Log): Promise<void> {
  try {
    await client.abortMultipartUpload(key, uploadId);
  } catch (error) {
    log.write("warn", "unfinished upload left in the bucket", { key, reason: reasonOf(error) });
  }
}

/** As the service writes it. */
interface Upload {
  readonly Key: string;
  readonly UploadId: string;
}

/** What a crash left of this key. Where the service does not list uploads, its life-cycle rule has to see to them. */
async function abortUploads(client: S3mini, key: string, log: Log): Promise<void> {
  try {
    const answer: unknown = await client.listMultipartUploads("/", "", "GET", { prefix: key });
    const { ListMultipartUploadsResult: listed } = answer as { ListMultipartUploadsResult?: { Upload?: Upload | Upload[] } };
    for (const { Key: found, UploadId: id } of [listed?.Upload ?? []].flat()) if (found === key) await client.abortMultipartUpload(key, id);
  } catch (error) {
    log.write("debug", "unfinished uploads not looked for", { key, reason: reasonOf(error) });
  }
}
