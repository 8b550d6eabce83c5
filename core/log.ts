/** Structured events. Whatever is logged passes here, so redaction has one place. */

export type LogLevel = "debug" | "info" | "warn" | "error";
export type LogFields = Record<string, string | number | boolean | null | undefined>;

export interface Log {
  /** `event` is a short name in the field's words: `login refused`. Fields never hold a secret, a parameter value or a row. */
  write(level: LogLevel, event: string, fields?: LogFields): void;
}

const secretPatterns: readonly [RegExp, string][] = [
  [/tenantsdb_sk_[0-9a-f]{1,64}/gi, "tenantsdb_sk_…"],
  // Proxy passwords have 16 hex digits; project ids have 8 and stay readable.
  [/tdb_[0-9a-f]{16}(?![0-9a-f_])/gi, "tdb_…"],
  [/(:\/\/[^\s:/@]{0,128}:)[^\s@/]{1,256}@/g, "$1…@"],
  [/(password\s{0,4}[=:]\s{0,4})\S{1,256}/gi, "$1…"],
];

/** Removes anything that looks like one of our secrets or a password in a connection string. */
export function redact(text: string): string {
  let result = text;
  for (const [pattern, replacement] of secretPatterns) result = result.replace(pattern, replacement);
  return result;
}

/** A log that redacts every string before `sink` sees it. */
export function redactingLog(sink: Log): Log {
  return {
    write(level, event, fields) {
      if (!fields) return sink.write(level, event);
      const clean: LogFields = {};
      for (const [name, value] of Object.entries(fields)) clean[name] = typeof value === "string" ? redact(value) : value;
      sink.write(level, event, clean);
    },
  };
}

/** Says nothing; for tests. */
export const silentLog: Log = { write() {} };
