/** The settings options of `tdb workspaces settings` and `tdb tenants settings`. */
import { type Command, Option } from "commander";
import { trueOrFalse, wholeNumber } from "./options.ts";

export interface SettingOptions {
  readonly maxRowsPerQuery?: number;
  readonly queryTimeoutMs?: number;
  readonly maxConnections?: number;
  readonly allowCopy?: boolean;
  readonly poolMode?: "session" | "transaction";
  readonly slowQueryMs?: number;
}

export function addSettingOptions(command: Command): Command {
  return command
    .option("--max-rows-per-query <n>", "0 = no limit", wholeNumber)
    .option("--query-timeout-ms <ms>", "0 = no limit", wholeNumber)
    .option("--max-connections <n>", "per database", wholeNumber)
    .option("--allow-copy <true|false>", "COPY through the proxy", trueOrFalse)
    .addOption(new Option("--pool-mode <mode>").choices(["session", "transaction"]))
    .option("--slow-query-ms <ms>", "from when a query counts as slow", wholeNumber);
}

/** The settings that were named; undefined when none was. */
export function readSettings(options: SettingOptions) {
  const named = {
    ...(options.maxRowsPerQuery !== undefined && { max_rows_per_query: options.maxRowsPerQuery }),
    ...(options.queryTimeoutMs !== undefined && { query_timeout_ms: options.queryTimeoutMs }),
    ...(options.maxConnections !== undefined && { max_connections: options.maxConnections }),
    ...(options.allowCopy !== undefined && { allow_copy: options.allowCopy }),
    ...(options.poolMode !== undefined && { pool_mode: options.poolMode }),
    ...(options.slowQueryMs !== undefined && { slow_query_ms: options.slowQueryMs }),
  };
  return Object.keys(named).length === 0 ? undefined : named;
}
