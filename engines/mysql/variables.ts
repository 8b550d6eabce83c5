/** System variables that clients ask for as they start, with the values of a plain MySQL server. */
import { serverVersion } from "./handshake.ts";
import type { Value } from "./replies.ts";

const variables: ReadonlyMap<string, Value> = new Map<string, Value>([
  ["auto_increment_increment", 1],
  ["auto_increment_offset", 1],
  ["autocommit", 1],
  ["character_set_client", "utf8mb4"],
  ["character_set_connection", "utf8mb4"],
  ["character_set_database", "utf8mb4"],
  ["character_set_results", "utf8mb4"],
  ["character_set_server", "utf8mb4"],
  ["character_set_system", "utf8mb3"],
  ["collation_connection", "utf8mb4_general_ci"],
  ["collation_database", "utf8mb4_general_ci"],
  ["collation_server", "utf8mb4_general_ci"],
  ["default_storage_engine", "InnoDB"],
  ["foreign_key_checks", 1],
  ["have_ssl", "YES"],
  ["hostname", "tenantry"],
  ["init_connect", ""],
  ["interactive_timeout", 28800],
  ["license", "Apache-2.0"],
  ["lower_case_file_system", "OFF"],
  ["lower_case_table_names", 0],
  ["max_allowed_packet", 67108864],
  ["net_buffer_length", 16384],
  ["net_write_timeout", 60],
  ["performance_schema", 0],
  ["port", 3306],
  ["protocol_version", 10],
  ["read_only", 0],
  ["sql_auto_is_null", 0],
  ["sql_mode", "ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION"],
  ["sql_safe_updates", 0],
  ["sql_select_limit", "18446744073709551615"],
  ["ssl_cipher", ""],
  ["system_time_zone", "UTC"],
  ["time_zone", "SYSTEM"],
  ["transaction_isolation", "REPEATABLE-READ"],
  ["transaction_read_only", 0],
  ["unique_checks", 1],
  ["version", serverVersion],
  ["version_comment", "Tenantry gateway"],
  ["version_compile_machine", "any"],
  ["version_compile_os", "any"],
  ["wait_timeout", 28800],
]);

/** @returns undefined for a variable that is not known here. */
export function findVariable(name: string): Value | undefined {
  return variables.get(name.toLowerCase());
}

/** Rows of SHOW VARIABLES: switches are shown as ON and OFF there, numbers as text. */
export function listVariables(matches: (name: string) => boolean): [string, string][] {
  return [...variables].filter(([name]) => matches(name)).map(([name, value]) => [name, String(value)]);
}
