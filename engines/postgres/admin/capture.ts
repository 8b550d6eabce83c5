/** Reads a workspace's capture log: committed DDL, one exact statement each, in an order that never skips what commits late. */
import type { CapturedDdl } from "../../../core/cluster-admin.ts";
import type { PhysicalDatabase } from "../../../core/model.ts";
import { numberCapturedSql, readCapturedSql, readMessagesSql } from "./capture-sql.ts";
import { type AdminContext, inTransaction, withAdmin } from "./context.ts";
import { readOrigin, StatementMatcher } from "./match-statements.ts";
import { ParseError, parseStatements, type Statement } from "./parser.ts";
import { isGrantOnTemporary, isOwnerChangeOnly, isTransactional } from "./statement-kinds.ts";

interface LogRow {
  readonly message_id: string;
  readonly tag: string;
  readonly search_path: string;
  readonly context: string;
  /** Of GRANT and REVOKE: the session's temporary relations; of others what they touched. */
  readonly objects: readonly string[];
  readonly effect: "permanent" | "temporary" | "extension" | "none";
  readonly settings: Readonly<Record<string, string>>;
  readonly ddl_id: string;
  readonly captured_at_ms: string;
}

export async function readCapturedDdl(context: AdminContext, database: PhysicalDatabase, afterDdlId: number): Promise<readonly CapturedDdl[]> {
  const { rows, messages } = await withAdmin(context, database.clusterId, database.name, async (connection) => {
    await inTransaction(connection, async () => {
      const unread = await connection.query("SELECT 1 FROM tdb.ddl_log WHERE ddl_id IS NULL LIMIT 1");
      if (unread.rowCount > 0) await connection.query(numberCapturedSql);
    });
    const log = await connection.query(readCapturedSql, [afterDdlId]);
    const texts = await connection.query(readMessagesSql, [afterDdlId]);
    return {
      rows: log.rows as unknown as readonly LogRow[],
      messages: new Map(texts.rows.map((row) => [String(row.id), String(row.text)])),
    };
  });
  const captured: CapturedDdl[] = [];
  for (const [messageId, group] of groupByMessage(rows)) {
    captured.push(...(await matchMessage(messages.get(messageId) ?? "", group)));
  }
  return captured.filter((ddl) => ddl.ddlId > afterDdlId).sort((a, b) => a.ddlId - b.ddlId);
}

/** In the order the messages came, which is the order of the rows. */
function groupByMessage(rows: readonly LogRow[]): Map<string, LogRow[]> {
  const groups = new Map<string, LogRow[]>();
  for (const row of rows) {
    const group = groups.get(row.message_id);
    if (group) group.push(row);
    else groups.set(row.message_id, [row]);
  }
  return groups;
}

/** All log rows of one client message, oldest first. */
async function matchMessage(message: string, rows: readonly LogRow[]): Promise<CapturedDdl[]> {
  const outer = new StatementMatcher(await statementsOf(message));
  const inner = new Map<string, StatementMatcher>();
  const captured: CapturedDdl[] = [];
  for (const row of rows) {
    const statement = await matchRow(row, outer, inner);
    if (!statement || row.effect !== "permanent" || isOwnerChangeOnly(statement) || isGrantOnTemporary(statement, row.objects)) continue;
    captured.push({
      ddlId: Number(row.ddl_id),
      sql: statement.text,
      commandTag: row.tag,
      searchPath: row.search_path,
      settings: row.settings,
      transactional: isTransactional(statement),
      capturedAt: Number(row.captured_at_ms),
    });
  }
  return captured;
}

async function matchRow(row: LogRow, outer: StatementMatcher, inner: Map<string, StatementMatcher>): Promise<Statement | undefined> {
  // What an extension's script does comes with CREATE EXTENSION.
  if (row.effect === "extension" || /^extension script file "/m.test(row.context)) return undefined;
  const origin = readOrigin(row.context);
  if (origin.at === "client") return outer.takeDirect(row.tag);
  if (origin.at === "function") return row.effect === "permanent" ? outer.takeCaller(origin.name, origin.line) : undefined;
  for (const text of origin.candidates) {
    const matcher = inner.get(text) ?? (await tryMatcher(text));
    if (!matcher) continue;
    inner.set(text, matcher);
    // The same text of several statements may run again: then it starts from its beginning.
    const statement = matcher.takeDirect(row.tag);
    if (statement) return statement;
    const again = await tryMatcher(text);
    if (again) inner.set(text, again);
    return again?.takeDirect(row.tag);
  }
  return row.effect === "permanent" ? outer.takeCaller("", 0) : undefined;
}

async function tryMatcher(text: string): Promise<StatementMatcher | undefined> {
  try {
    return new StatementMatcher(await parseStatements(text));
  } catch (error) {
    if (error instanceof ParseError) return undefined;
    throw error;
  }
}

/** What PostgreSQL could run and the parser cannot read (nesting too deep for it) is taken as the one statement it then most likely is. */
async function statementsOf(message: string): Promise<Statement[]> {
  try {
    return await parseStatements(message);
  } catch (error) {
    if (!(error instanceof ParseError)) throw error;
    const text = message.trim().replace(/;$/, "");
    return [{ kind: "Unknown", fields: {}, text, words: text.toUpperCase().split(/\s+/) }];
  }
}
