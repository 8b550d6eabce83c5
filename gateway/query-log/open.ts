/** The query log of this instance: what its listeners tell, what writes it down, what reads it. */
import type { Clock } from "../../core/clock.ts";
import type { Config } from "../../core/config.ts";
import type { Log } from "../../core/log.ts";
import type { QueryHistory } from "../../core/query-history.ts";
import { QueryLog } from "../../core/query-log.ts";
import { maskStatement } from "../../engines/postgres/mask.ts";
import type { Store } from "../store/store.ts";
import { createQueryHistory } from "./history.ts";
import { QueryLogWriter } from "./writer.ts";

export interface RunningQueryLog {
  readonly queries: QueryLog;
  readonly history: QueryHistory;
  reload(config: Config): void;
  /** Writes what is left. */
  stop(): Promise<void>;
}

export function openQueryLog({ store, clock, log, config }: { store: Store; clock: Clock; log: Log; config: Config }): RunningQueryLog {
  let current = config;
  const queries = new QueryLog(clock, queryLogOptions(config));
  const writer = new QueryLogWriter({
    db: store.db,
    clock,
    log,
    queries,
    mask: ({ bytes, backslashes }, keepLiterals) => maskStatement(bytes, { backslashes, keepLiterals }),
    options: () => ({ keepLiterals: !current["query_log.mask"], retentionDays: current["query_log.retention_days"] }),
  });
  const history = createQueryHistory(store.db);
  return {
    queries,
    history,
    reload(next) {
      current = next;
      queries.reload(queryLogOptions(next));
    },
    stop: () => writer.stop(),
  };
}

function queryLogOptions(config: Config) {
  return {
    enabled: config["query_log.enabled"],
    samplePercent: config["query_log.sample_percent"],
    maxPerS: config["query_log.max_per_s"],
    maxPerDatabasePerS: config["query_log.max_per_database_per_s"],
  };
}
