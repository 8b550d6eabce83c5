/** Results as Markdown, and their place in docs/performance.md. */
import type { Section } from "./section.ts";

const beginMark = "<!-- bench:begin -->";
const endMark = "<!-- bench:end -->";

export function renderSections(sections: readonly Section[]): string {
  return sections
    .map(({ title, columns, rows, plots = [] }) =>
      [`### ${title}`, renderTable(columns, rows), ...plots.map((plot) => `![${plot.title}](performance/${plot.file}.svg)`)].join("\n\n"),
    )
    .join("\n\n");
}

/** Asks of all sections in one table; "" when there are none. */
export function renderAsks(sections: readonly Section[]): string {
  const rows = sections.flatMap(({ asks }) => asks.map(({ what, wanted, got, met }) => [what, wanted, got, met ? "met" : "**missed**"]));
  return rows.length === 0 ? "" : `### Asked and measured\n\n${renderTable(["what", "asked", "measured", ""], rows)}`;
}

/** Columns are padded so that the source reads as well as the page. */
export function renderTable(columns: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = columns.map((title, at) => Math.max(3, title.length, ...rows.map((row) => row[at]?.length ?? 0)));
  const line = (cells: readonly string[]) => `| ${widths.map((width, at) => (cells[at] ?? "").padEnd(width)).join(" | ")} |`;
  return [line(columns), line(widths.map((width) => "-".repeat(width))), ...rows.map(line)].join("\n");
}

/** Replaces what stands between the marks. @throws Error when the marks are missing. */
export function insertBetweenMarks(document: string, text: string): string {
  const begin = document.indexOf(beginMark);
  const end = document.indexOf(endMark);
  if (begin < 0 || end < begin) throw new Error(`the document needs the marks ${beginMark} and ${endMark}`);
  return `${document.slice(0, begin + beginMark.length)}\n\n${text.trim()}\n\n${document.slice(end)}`;
}
