/** A small S3-compatible service: objects, multipart uploads, signatures version 4 checked, faults on demand. */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export interface S3Server {
  /** With the bucket. */
  readonly url: string;
  readonly objects: Map<string, Buffer>;
  readonly uploads: Map<string, { key: string; parts: Map<number, Buffer> }>;
  /** `PUT key?partNumber`, in order. */
  readonly requests: string[];
  /** Status to answer with instead; undefined: as asked. */
  fault: ((method: string, path: string) => number | undefined) | undefined;
  close(): Promise<void>;
}

export const accessKeyId = "AKIATEST";
export const secretAccessKey = "a secret that is not in the log";
export const region = "eu-test-1";

export async function startS3Server(): Promise<S3Server> {
  const server = createServer((request, response) => {
    void answer(s3, request, response).catch((error: Error) => {
      response.writeHead(500).end(error.message);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const s3: S3Server = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/bucket`,
    objects: new Map(),
    uploads: new Map(),
    requests: [],
    fault: undefined,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
  return s3;
}

async function answer(s3: S3Server, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? "", "http://localhost");
  const method = request.method ?? "";
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const body = Buffer.concat(chunks);
  const key = decodeURIComponent(url.pathname.replace(/^\/bucket\/?/, ""));
  s3.requests.push(`${method} ${key}${url.search && `?${[...url.searchParams.keys()].join("&")}`}`);
  const xml = (status: number, text: string) =>
    void response.writeHead(status, { "content-type": "application/xml" }).end(`<?xml version="1.0"?>${text}`);
  if (!isSigned(request, url)) return xml(403, "<Error><Code>SignatureDoesNotMatch</Code><Message>no</Message></Error>");
  const fault = s3.fault?.(method, `${key}${url.search}`);
  if (fault)
    return xml(fault, `<Error><Code>${fault === 403 ? "AccessDenied" : "InternalError"}</Code><Message>secret host 10.0.0.1</Message></Error>`);
  const uploadId = url.searchParams.get("uploadId");
  if (method === "GET" && url.searchParams.has("uploads")) {
    const prefix = url.searchParams.get("prefix") ?? "";
    const open = [...s3.uploads].filter(([, upload]) => upload.key.startsWith(prefix));
    const list = open.map(([id, upload]) => `<Upload><Key>${upload.key}</Key><UploadId>${id}</UploadId></Upload>`).join("");
    return xml(200, `<ListMultipartUploadsResult><Bucket>bucket</Bucket>${list}</ListMultipartUploadsResult>`);
  }
  if (method === "POST" && url.searchParams.has("uploads")) {
    const id = `upload${s3.uploads.size + 1}`;
    s3.uploads.set(id, { key, parts: new Map() });
    return xml(
      200,
      `<InitiateMultipartUploadResult><Bucket>bucket</Bucket><Key>${key}</Key><UploadId>${id}</UploadId></InitiateMultipartUploadResult>`,
    );
  }
  if (uploadId !== null)
    return answerUpload(s3, { method, key, uploadId, body, partNumber: Number(url.searchParams.get("partNumber")) }, response, xml);
  if (method === "PUT") s3.objects.set(key, body);
  if (method === "DELETE") s3.objects.delete(key);
  const object = s3.objects.get(key);
  if (method === "GET" && !object) return xml(404, "<Error><Code>NoSuchKey</Code></Error>");
  response.writeHead(method === "DELETE" ? 204 : 200, { etag: `"${key.length}"` }).end(method === "GET" ? object : undefined);
}

function answerUpload(
  s3: S3Server,
  ask: { method: string; key: string; uploadId: string; body: Buffer; partNumber: number },
  response: ServerResponse,
  xml: (status: number, text: string) => void,
): void {
  const upload = s3.uploads.get(ask.uploadId);
  if (!upload) {
    xml(404, "<Error><Code>NoSuchUpload</Code></Error>");
    return;
  }
  if (ask.method === "PUT") {
    upload.parts.set(ask.partNumber, ask.body);
    response.writeHead(200, { etag: `"part${ask.partNumber}"` }).end();
    return;
  }
  s3.uploads.delete(ask.uploadId);
  if (ask.method === "DELETE") {
    response.writeHead(204).end();
    return;
  }
  const named = [...ask.body.toString().matchAll(/<PartNumber>(\d+)<\/PartNumber>/g)].map((found) => Number(found[1]));
  s3.objects.set(ask.key, Buffer.concat(named.map((number) => upload.parts.get(number)!)));
  xml(
    200,
    `<CompleteMultipartUploadResult><Location>x</Location><Bucket>bucket</Bucket><Key>${ask.key}</Key><ETag>"whole"</ETag></CompleteMultipartUploadResult>`,
  );
}

/** @see https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html */
function isSigned(request: IncomingMessage, url: URL): boolean {
  const found = /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/s3\/aws4_request, ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})$/.exec(
    request.headers.authorization ?? "",
  );
  if (!found) return false;
  const [, id, day = "", signedRegion = "", names = "", signature = ""] = found;
  if (id !== accessKeyId || signedRegion !== region) return false;
  const encode = (text: string) => encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
  const query = [...url.searchParams].map(([name, value]) => `${encode(name)}=${encode(value)}`).sort();
  const headers = names.split(";").map((name) => `${name}:${String(request.headers[name]).trim()}\n`);
  const canonical = [request.method, url.pathname, query.join("&"), headers.join(""), names, request.headers["x-amz-content-sha256"]].join("\n");
  const hmac = (key: string | Buffer, text: string) => createHmac("sha256", key).update(text).digest();
  const scope = `${day}/${signedRegion}/s3/aws4_request`;
  const toSign = ["AWS4-HMAC-SHA256", request.headers["x-amz-date"], scope, createHash("sha256").update(canonical).digest("hex")].join("\n");
  const key = hmac(hmac(hmac(hmac(`AWS4${secretAccessKey}`, day), signedRegion), "s3"), "aws4_request");
  return timingSafeEqual(hmac(key, toSign), Buffer.from(signature, "hex"));
}
