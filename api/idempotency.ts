/** Idempotency-Key: a POST that is sent twice is carried out once, and answered twice. */
import type { MiddlewareHandler } from "hono";
import type { ContentfulStatusCode } from "hono/utils/http-status";
import { GatewayError } from "../core/errors.ts";
import type { SealedAnswer } from "../core/idempotency.ts";
import type { ApiContext, ApiEnv } from "./context.ts";
import { badInput } from "./envelope.ts";

export const idempotencyKeyParameter = {
  name: "Idempotency-Key",
  in: "header" as const,
  description:
    "Any text that is new for each thing to be done, as a UUID. The same request with the same key within 24 hours is not carried out again: it gets the first one's answer, secrets included, with `Idempotency-Replayed: true`.",
  schema: { type: "string" as const, minLength: 1, maxLength: 255 },
  example: "2f0c1f6e-6a2b-4a55-9f0e-0f6d7a3f7c11",
};

/** Answers above this are not kept. */
const maxAnswerBytes = 1024 * 1024;
/** Stands in the store for an answer that is not kept: no successful one has it. */
const notKeptStatus = 409;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Runs behind authentication and the body's limit, before anything of the body is acted upon. */
export function answerOnce(): MiddlewareHandler<ApiEnv> {
  return async (c, next) => {
    const key = c.req.header("idempotency-key");
    const { idempotency } = c.var.api;
    const secret = callerSecret(c);
    if (key === undefined || !idempotency || secret === undefined) return next();
    if (!/^[\x20-\x7e]{1,255}$/.test(key)) throw badInput([{ path: "Idempotency-Key", message: "must be 1 to 255 printable ASCII characters" }]);
    const owner = ownerOf(c);
    const keyHash = await sha256(`${owner}\n${key}`);
    const requestHash = await sha256(`${c.req.method} ${c.req.url}\n${c.req.header("x-project-id") ?? ""}\n${await c.req.text()}`);
    const known = await idempotency.begin(owner, keyHash, requestHash);
    if (known) {
      if (known.requestHash !== requestHash) throw new GatewayError("conflict", "this Idempotency-Key was used for another request: use a new one");
      if (!known.answer) throw stillRunning();
      c.set("isReplay", true);
      c.res = await replay(c, known.answer, secret, key);
      return;
    }
    await next();
    if (c.res.status < 300) {
      const answer = await remember(c, secret, key);
      return answer && idempotency.finish(owner, keyHash, answer);
    }
    if (c.res.status < 500 && !c.var.hasActed) await idempotency.abandon(owner, keyHash);
  };
}

function stillRunning(): GatewayError {
  return new GatewayError(
    "conflict",
    "a request with this Idempotency-Key is being carried out, or was cut short: wait for it, or look what was made and use a new key",
    { retryAfterS: 1 },
  );
}

/**
 * A successful answer, or that there was one: what was carried out is never carried out again, whether its answer can be kept or not. Undefined of one
 * that comes in lines: it has only begun, and nobody knows yet how far it will get.
 */
async function remember(c: ApiContext, secret: string, key: string): Promise<SealedAnswer | undefined> {
  if (!c.res.headers.get("content-type")?.startsWith("application/json")) return undefined;
  const text = await c.res.clone().text();
  if (text.length > maxAnswerBytes) return { status: notKeptStatus, sealed: new Uint8Array() };
  return { status: c.res.status, sealed: await seal(text, secret, key) };
}

async function replay(c: ApiContext, answer: SealedAnswer, secret: string, key: string): Promise<Response> {
  if (answer.status === notKeptStatus) {
    throw new GatewayError(
      "conflict",
      "a request with this Idempotency-Key was carried out; its answer is not kept, since it is above 1 MiB: look what was done, and use a new key to do it again",
    );
  }
  const body = await open(answer.sealed, secret, key);
  if (body === undefined) {
    throw new GatewayError(
      "conflict",
      "this Idempotency-Key was used with an API key or session that has changed since: its answer cannot be shown again",
    );
  }
  return c.body(body, answer.status as ContentfulStatusCode, { "Content-Type": "application/json", "Idempotency-Replayed": "true" });
}

/** Keys and accounts do not share their Idempotency-Keys. */
function ownerOf(c: ApiContext): string {
  const { principal } = c.var;
  return principal.type === "key" ? principal.credential.id : principal.account.id;
}

function callerSecret(c: ApiContext): string | undefined {
  const principal = c.var.principal as ApiEnv["Variables"]["principal"] | undefined; // open routes have none
  return principal && c.req.header("authorization");
}

// Answers are sealed with what only the caller has, the secret it sent: the store alone cannot open them.

async function sealingKey(secret: string, key: string, salt: Uint8Array): Promise<CryptoKey> {
  const material = await crypto.subtle.importKey("raw", encoder.encode(secret), "HKDF", false, ["deriveKey"]);
  const how = { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(salt), info: encoder.encode(`idempotency ${key}`) };
  return crypto.subtle.deriveKey(how, material, { name: "AES-GCM", length: 256 }, false, ["encrypt", "decrypt"]);
}

/** 16 bytes of salt, 12 of nonce, the sealed text. */
async function seal(text: string, secret: string, key: string): Promise<Uint8Array> {
  const head = crypto.getRandomValues(new Uint8Array(28));
  const cipher = await crypto.subtle.encrypt(
    { name: "AES-GCM", iv: head.slice(16) },
    await sealingKey(secret, key, head.slice(0, 16)),
    encoder.encode(text),
  );
  const sealed = new Uint8Array(28 + cipher.byteLength);
  sealed.set(head);
  sealed.set(new Uint8Array(cipher), 28);
  return sealed;
}

async function open(sealed: Uint8Array, secret: string, key: string): Promise<string | undefined> {
  try {
    const opening = await sealingKey(secret, key, sealed.slice(0, 16));
    return decoder.decode(await crypto.subtle.decrypt({ name: "AES-GCM", iv: sealed.slice(16, 28) }, opening, sealed.slice(28)));
  } catch (error) {
    if (error instanceof DOMException && error.name === "OperationError") return undefined; // sealed with another secret
    throw error;
  }
}

async function sha256(text: string): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", encoder.encode(text)));
  return [...digest].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
