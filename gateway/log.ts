/** The process's log: pino behind the core's Log, as JSON lines or as text for people, secrets removed. */
import { type Logger, pino } from "pino";
import { type Log, type LogFields, type LogLevel, redactingLog } from "../core/log.ts";

export interface ProcessLog extends Log {
  /** The least serious level written from now on; for reloads. */
  setLevel(level: LogLevel): void;
}

export interface LogOptions {
  readonly level: LogLevel;
  readonly format: "json" | "pretty";
  /** Takes one line with its line end. Default: standard error, so that what commands print stays apart. */
  readonly write?: (line: string) => void;
}

/** What `auto` means for this process. */
export function logFormat(format: "auto" | "json" | "pretty"): "json" | "pretty" {
  if (format !== "auto") return format;
  return process.stderr.isTTY ? "pretty" : "json";
}

type Line = LogFields & { readonly level: LogLevel; readonly time: string; readonly event: string };

export function createLog(options: LogOptions): ProcessLog {
  const write = options.write ?? ((line: string) => void process.stderr.write(line));
  const format = options.format === "pretty" ? (line: string) => formatLine(JSON.parse(line)) : (line: string) => line;
  const logger: Logger = pino(
    {
      level: options.level,
      base: null,
      messageKey: "event",
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    { write: (line: string) => write(format(line)) },
  );
  const log = redactingLog({ write: (level, event, fields = {}) => logger[level](fields, event) });
  return {
    write: log.write,
    setLevel(level) {
      logger.level = level;
    },
  };
}

/** `2026-01-31T12:00:00.000Z INFO  login refused user=tdb_2abf90d3 reason="wrong password"`. */
function formatLine({ level, time, event, ...fields }: Line): string {
  const pairs = Object.entries(fields).map(([name, value]) => ` ${name}=${formatValue(value)}`);
  return `${time} ${level.toUpperCase().padEnd(5)} ${event}${pairs.join("")}\n`;
}

/** Quoted unless plain, so that what a client sent can neither look like another field nor drive a terminal. */
function formatValue(value: LogFields[string]): string {
  return typeof value === "string" && !/^[\w.:/@+-]+$/.test(value) ? quote(value) : String(value);
}

function quote(text: string): string {
  return JSON.stringify(text).replaceAll(
    /[\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
