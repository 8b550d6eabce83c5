/** A typed client of the management API. The command line has no other way in. */
import { hc } from "hono/client";
import type { AppType } from "./app.ts";

export interface ClientOptions {
  readonly apiUrl: string;
  /** An API key or a session token. */
  readonly secret?: string | undefined;
  /** Which project a session acts for. */
  readonly projectId?: string | undefined;
  readonly fetch?: typeof fetch | undefined;
}

export type ApiClient = ReturnType<typeof hc<AppType>>;

/** What the API said no with. */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  readonly body: Record<string, unknown>;

  constructor(status: number, code: string, message: string, body: Record<string, unknown>) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
    this.body = body;
  }
}

/** Nothing that speaks the API answered. */
export class UnreachableError extends Error {
  constructor(message: string, cause?: unknown) {
    super(message, { cause });
    this.name = "UnreachableError";
  }
}

export function createClient(options: ClientOptions): ApiClient {
  const headers: Record<string, string> = {};
  if (options.secret !== undefined) headers.Authorization = `Bearer ${options.secret}`;
  if (options.projectId !== undefined) headers["X-Project-Id"] = options.projectId;
  return hc<AppType>(options.apiUrl, { headers, fetch: options.fetch ?? fetch });
}

/** A response of the typed client, whatever its fields. */
export interface Answering<T> {
  json(): Promise<T>;
  readonly status: number;
}

/**
 * The fields of a successful answer.
 * @throws {ApiError} when the API refused, {UnreachableError} when it could not be asked.
 */
export async function readAnswer<T>(pending: Promise<Answering<T>>): Promise<T> {
  let response: Answering<T>;
  try {
    response = await pending;
  } catch (error) {
    throw new UnreachableError("the API does not answer", error);
  }
  let body: T;
  try {
    body = await response.json();
  } catch (error) {
    throw new UnreachableError(`what answers is not the API: HTTP ${response.status} without JSON`, error);
  }
  if (response.status < 400) return body;
  const refusal = (typeof body === "object" && body !== null ? body : {}) as Record<string, unknown>;
  const code = typeof refusal.code === "string" ? refusal.code : "unknown";
  const message = typeof refusal.error === "string" ? refusal.error : `HTTP ${response.status}`;
  throw new ApiError(response.status, code, message, refusal);
}

/** An id as one segment of a path; the typed client writes parameters as they are. */
export function segment(id: string): string {
  return id === "." || id === ".." ? id.replaceAll(".", "%252e") : encodeURIComponent(id);
}
