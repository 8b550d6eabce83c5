/** PostgreSQL's errors in a report: its own words without the values in them, and which column it was. */
import { GatewayError } from "../../core/errors.ts";
import type { SqlErrorShape } from "../../core/sql.ts";

export function describeSqlFailure(error: unknown): { message: string; sqlstate: string | undefined } {
  if (error instanceof GatewayError) return { message: error.message, sqlstate: error.sqlstate };
  const { code, message, where } = error as Partial<SqlErrorShape> & { where?: string };
  if (typeof code !== "string" || !/^[0-9A-Z]{5}$/.test(code)) return { message: "internal error, see the gateway's log", sqlstate: undefined };
  // Errors of data quote the value; constraints and types are only named there.
  const text = code.startsWith("22")
    ? String(message)
        .replaceAll(/"[^"]*"/g, "a value")
        .replace(/: a value$/, "")
    : String(message);
  const place = /^COPY ([^,]+), line \d+, column ([^:]+)/m.exec(where ?? "");
  return { message: place ? `table ${place[1]}, column ${place[2]}: ${text}` : text, sqlstate: code };
}
