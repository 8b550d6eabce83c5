/** Replays captured statements under the settings of the sessions they were captured in. */
import type { BlueprintVersion } from "../../../core/model.ts";
import type { SqlConnection } from "../../../core/sql.ts";

/** Of one session or transaction. What was set before is not set again, so most statements cost one round trip at most. */
export class ReplaySettings {
  readonly #connection: SqlConnection;
  readonly #untilCommit: boolean;
  readonly #set = new Map<string, string>();

  /** @param scope how long the settings hold */
  constructor(connection: SqlConnection, scope: "transaction" | "session") {
    this.#connection = connection;
    this.#untilCommit = scope === "transaction";
  }

  async set(version: BlueprintVersion): Promise<void> {
    const changed = Object.entries(version.settings ?? {}).filter(([name, value]) => this.#set.get(name) !== value);
    for (const [name, value] of changed) this.#set.set(name, value);
    // The path always: functions that a statement calls may have changed it.
    const all = [...changed, ["search_path", version.searchPath]];
    const calls = all.map((_, index) => `pg_catalog.set_config($${2 * index + 1}, $${2 * index + 2}, ${this.#untilCommit})`);
    await this.#connection.query(`SELECT ${calls.join(", ")}`, all.flat());
  }
}
