/** How the embedded server is set up: no network, passwords for everybody, room for many databases. */

/** Client authentication: the Unix socket only, a password for every user, no replication. */
export const hbaFile = `# Written by tdb at every start; changes are lost.
# TYPE  DATABASE  USER  METHOD
local   all       all   scram-sha-256
`;

/** Command-line settings; they outrank postgresql.conf and ALTER SYSTEM. */
export function serverSettings(input: {
  readonly socketDir: string;
  readonly hbaPath: string;
  readonly maxConnections: number;
  readonly durable: boolean;
}): Record<string, string> {
  return {
    listen_addresses: "",
    unix_socket_directories: input.socketDir,
    unix_socket_permissions: "0700",
    hba_file: input.hbaPath,
    password_encryption: "scram-sha-256",
    max_connections: String(input.maxConnections),
    // One client taking many locks must not exhaust the table all databases share.
    max_locks_per_transaction: "256",
    max_prepared_transactions: "0",
    wal_level: "minimal",
    max_wal_senders: "0",
    shared_buffers: "128MB",
    max_wal_size: "1GB",
    fsync: input.durable ? "on" : "off",
    synchronous_commit: input.durable ? "on" : "off",
    full_page_writes: input.durable ? "on" : "off",
    // One file for each day of the week, each replaced when its day comes again.
    logging_collector: "on",
    log_directory: "log",
    log_filename: "postgresql-%a.log",
    log_truncate_on_rotation: "on",
    log_rotation_age: "1d",
    log_rotation_size: "0",
    log_min_messages: "warning",
    // Statements may hold customers' data and must not reach a file through an error.
    log_min_error_statement: "panic",
    lc_messages: "C",
  };
}
