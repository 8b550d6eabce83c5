/** Tells a store that is away from a store that said no, and says so in the words of the path that asked. */
import { GatewayError } from "../../core/errors.ts";

const awayCodes = new Set([
  "ECONNREFUSED",
  "ECONNRESET",
  "EPIPE",
  "ENOENT",
  "ENOTFOUND",
  "EAI_AGAIN",
  "ETIMEDOUT",
  "EHOSTUNREACH",
  "ENETUNREACH",
  "57P01",
  "57P02",
  "57P03",
  "53300",
]);

/** node-postgres has no code for what it notices itself. */
const awayMessages =
  /^(Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error|Cannot use a pool after|Client was closed|driver has already been destroyed|read ECONN|Query read timeout)/;

/** True when the store could not be asked, or went away while it was. */
export function isStoreAway(error: unknown): boolean {
  if (!(error instanceof Error)) return false;
  const code = (error as { code?: unknown }).code;
  if (typeof code === "string" && (awayCodes.has(code) || code.startsWith("08"))) return true;
  const inner = (error as { errors?: unknown }).errors; // AggregateError: every address of a host was refused
  if (Array.isArray(inner) && inner.some(isStoreAway)) return true;
  return awayMessages.test(error.message);
}

/** The API's and the data path's words for a store that is away; anything else is passed on as it was. */
export function translateStoreError(error: unknown, kind: "store_unavailable" | "backend_unreachable"): unknown {
  if (error instanceof GatewayError || !isStoreAway(error)) return error;
  const message = kind === "store_unavailable" ? "credentials cannot be looked up right now, try again" : "the control database is not reachable";
  return new GatewayError(kind, message, { cause: error });
}

/** True where a row is still referred to, or what it refers to is gone. */
export function isForeignKeyViolation(error: unknown): boolean {
  return error instanceof Error && (error as { code?: unknown }).code === "23503";
}

/** True for a unique violation, of one constraint when it is named. */
export function isUniqueViolation(error: unknown, constraint?: string): boolean {
  if (!(error instanceof Error)) return false;
  const shape = error as { code?: unknown; constraint?: unknown };
  return shape.code === "23505" && (constraint === undefined || shape.constraint === constraint);
}
