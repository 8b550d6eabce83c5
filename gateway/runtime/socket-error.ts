/** Errors of listening and dialling, in one shape on every runtime: what could not be done, and the system's code. */

import type { DialTarget } from "./runtime.ts";

export interface CodedError extends Error {
  code: string;
}

/** The system's code in an error of any runtime; AggregateErrors (several addresses tried) carry it on their parts. */
export function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return "UNKNOWN";
  const { code, name } = error as Error & { code?: unknown };
  if (typeof code === "string" && code !== "") return code;
  if (error instanceof AggregateError && error.errors.length > 0) return codeOf(error.errors[0]);
  return denoCodes[name] ?? "UNKNOWN";
}

const denoCodes: Record<string, string | undefined> = {
  AddrInUse: "EADDRINUSE",
  AddrNotAvailable: "EADDRNOTAVAIL",
  PermissionDenied: "EACCES",
  ConnectionRefused: "ECONNREFUSED",
  ConnectionReset: "ECONNRESET",
};

const meanings: Record<string, string | undefined> = {
  EADDRINUSE: "the port is already in use",
  EADDRNOTAVAIL: "this machine has no such address",
  EACCES: "permission denied",
  ENOENT: "no such socket",
  ENOTFOUND: "the name does not resolve",
  ECONNREFUSED: "connection refused",
};

/** `Cannot listen on 0.0.0.0:5432: the port is already in use (EADDRINUSE)`, with the code and the cause kept. */
export function socketError(action: string, cause: unknown): CodedError {
  const code = codeOf(cause);
  const meaning = meanings[code] ?? (cause instanceof Error && cause.message !== "" ? cause.message : "failed");
  return Object.assign(new Error(`${action}: ${meaning} (${code})`, { cause }), { code });
}

export function listenError(host: string, port: number, cause: unknown): CodedError {
  return socketError(`Cannot listen on ${hostPort(host, port)}`, cause);
}

export function dialError(target: DialTarget, cause: unknown): CodedError {
  return socketError(`Cannot connect to ${"path" in target ? target.path : hostPort(target.host, target.port)}`, cause);
}

export function hostPort(host: string, port: number): string {
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
