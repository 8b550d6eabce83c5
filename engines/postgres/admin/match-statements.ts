/** Finds, for each row of the capture log, the statement that caused it. Rows hold whole messages; a message may hold many statements. */
import type { Statement } from "./parser.ts";
import { firesEventTrigger, fitsTag } from "./statement-kinds.ts";

/**
 * Statements of one text whose event triggers have fired and were not rolled back, taken in order.
 * Every firing is logged, so the next row belongs to the next such statement; the command tag is a check on that.
 */
export class StatementMatcher {
  readonly #statements: readonly Statement[];
  readonly #undone: ReadonlySet<number>;
  #next = 0;
  #lastCaller: { index: number; line: number } | undefined;

  constructor(statements: readonly Statement[]) {
    this.#statements = statements;
    this.#undone = findUndone(statements);
  }

  /** For a command that is itself a statement of the text. */
  takeDirect(tag: string): Statement | undefined {
    const only = this.#statements[0];
    // The same one-statement text may run many times in a loop. Before PostgreSQL 18 the commands of an extension's script look like it, too.
    if (this.#statements.length === 1 && only) return only.kind.endsWith("ExtensionStmt") && !fitsTag(only, tag) ? undefined : only;
    const index = this.#find(this.#next, (statement) => firesEventTrigger(statement) && fitsTag(statement, tag));
    if (index === undefined) return undefined;
    this.#next = index + 1;
    return this.#statements[index];
  }

  /**
   * For a command inside a function that a statement of the text called. Undefined when that statement was returned for an earlier row:
   * it stands for all its commands.
   * @param functionName empty when unknown
   * @param line number of the statement in the function; going back means that it was called again
   */
  takeCaller(functionName: string, line: number): Statement | undefined {
    const previous = this.#lastCaller;
    if (previous && previous.index >= this.#next - 1 && line > previous.line) {
      this.#lastCaller = { index: previous.index, line };
      return undefined;
    }
    const calls = (statement: Statement) => !firesEventTrigger(statement);
    const names = (statement: Statement) => calls(statement) && statement.text.toLowerCase().includes(functionName.toLowerCase());
    const from = Math.max(this.#next, previous ? previous.index + 1 : 0);
    const index = this.#find(from, names) ?? this.#find(from, calls) ?? this.#find(0, names) ?? this.#find(0, () => true);
    if (index === undefined) return undefined;
    this.#next = index + 1;
    this.#lastCaller = { index, line };
    return this.#statements[index];
  }

  #find(from: number, fits: (statement: Statement) => boolean): number | undefined {
    const index = this.#statements.findIndex((statement, at) => at >= from && !this.#undone.has(at) && fits(statement));
    return index === -1 ? undefined : index;
  }
}

/** Statements that a ROLLBACK or ROLLBACK TO later in the same text took back; their log rows went with them. */
function findUndone(statements: readonly Statement[]): Set<number> {
  const undone = new Set<number>();
  let begin = 0;
  let savepoints: { name: string; at: number }[] = [];
  const undo = (from: number, to: number) => {
    for (let index = from; index < to; index++) undone.add(index);
  };
  for (const [index, { kind, fields }] of statements.entries()) {
    if (kind !== "TransactionStmt") continue;
    const name = String(fields.savepoint_name ?? "");
    if (fields.kind === "TRANS_STMT_SAVEPOINT") savepoints.push({ name, at: index });
    else if (fields.kind === "TRANS_STMT_ROLLBACK_TO") undo(savepoints.findLast((each) => each.name === name)?.at ?? begin, index);
    else if (fields.kind === "TRANS_STMT_ROLLBACK") undo(begin, index);
    if (fields.kind === "TRANS_STMT_ROLLBACK" || fields.kind === "TRANS_STMT_COMMIT") {
      begin = index + 1;
      savepoints = [];
    }
  }
  return undone;
}

/** Where a command ran: `statement` when a language told the exact text, `function` when only the function is known, `client` when the client sent it. */
export type Origin =
  | { readonly at: "client" }
  | { readonly at: "statement"; readonly candidates: readonly string[] }
  | { readonly at: "function"; readonly name: string; readonly line: number };

/**
 * Reads a PG_CONTEXT. PL/pgSQL and other callers of SPI give `SQL statement "text"` with the text unescaped, so where it ends is not
 * certain: every possible end is a candidate, shortest first, to be tried with the parser.
 */
export function readOrigin(context: string): Origin {
  if (context === "") return { at: "client" };
  const opening = 'SQL statement "';
  if (context.startsWith(opening)) {
    const candidates: string[] = [];
    for (let end = context.indexOf('"', opening.length); end !== -1; end = context.indexOf('"', end + 1)) {
      if (end === context.length - 1 || context[end + 1] === "\n") candidates.push(context.slice(opening.length, end));
    }
    return { at: "statement", candidates };
  }
  const [, name = "", line = "0"] = /^SQL function "((?:[^"]|"")*)" (?:statement (\d+))?/.exec(context) ?? [];
  return { at: "function", name, line: Number(line) };
}
