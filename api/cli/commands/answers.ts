/** Answers that several commands show alike: query results and settings. */
import { formatFields, formatTable } from "../print.ts";
import type { View } from "../session.ts";

interface QueryAnswer {
  readonly columns: readonly { readonly name: string }[];
  readonly rows: readonly (readonly unknown[])[];
  readonly row_count: number;
  readonly execution_time_ms: number;
  readonly truncated: boolean;
  readonly command: string;
}

/** Rows as a table, then how many and how long. */
export const queryView: View<QueryAnswer> = {
  quiet: (answer) => answer.rows.map((row) => row.map((value) => JSON.stringify(value)).join("\t")).join("\n"),
  human: (answer) => {
    const table =
      answer.columns.length === 0
        ? []
        : [
            formatTable(
              answer.columns.map((column) => column.name),
              answer.rows,
            ),
          ];
    const cut = answer.truncated ? ", there are more than an answer holds" : "";
    return [...table, `${answer.command}: ${answer.row_count} ${answer.row_count === 1 ? "row" : "rows"}${cut}, ${answer.execution_time_ms} ms`].join(
      "\n",
    );
  },
};

const envelope = new Set(["success", "http_status", "code"]);

/** An answer's own fields, one a line. */
export function formatAnswer(answer: object): string {
  return formatFields(Object.entries(answer).filter(([name]) => !envelope.has(name)));
}
