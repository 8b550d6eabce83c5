/** Output: tables for people, JSON for machines, nothing that could drive a terminal. */
import Table from "cli-table3";

// What databases hold is not ours: control characters, escape sequences and direction overrides are shown, not sent.
const unsafe = /(?![\t\n])[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu;

/** Keeps tab and line feed, writes every other control character as `\x1b`. */
export function sanitize(text: string): string {
  return text.replace(unsafe, (char) => {
    const code = char.codePointAt(0)!;
    return code < 256 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16)}`;
  });
}

/** JSON that is safe on a terminal too: JSON itself leaves DEL, C1 and direction overrides as they are. */
export function formatJson(value: unknown): string {
  return JSON.stringify(value, null, 2).replace(unsafe, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** One cell: null and absent values as an empty cell, objects as JSON. */
export function cell(value: unknown): string {
  if (value === null || value === undefined) return "";
  return sanitize(typeof value === "object" ? JSON.stringify(value) : String(value));
}

export function formatTable(head: readonly string[], rows: readonly (readonly unknown[])[]): string {
  const table = new Table({ head: head.map(cell), style: { head: [], border: [], compact: true } });
  for (const row of rows) table.push(row.map(cell));
  return table.toString();
}

/** A thing's fields, one a line. */
export function formatFields(fields: readonly (readonly [string, unknown])[]): string {
  const width = Math.max(...fields.map(([name]) => name.length));
  return fields.map(([name, value]) => `${name.padEnd(width)}  ${cell(value)}`).join("\n");
}

/** `[#########-----------] 9/20, 1 failed` */
export function formatProgress(done: number, failed: number, total: number): string {
  const width = 20;
  const filled = total === 0 ? width : Math.floor((width * (done + failed)) / total);
  return `[${"#".repeat(filled)}${"-".repeat(width - filled)}] ${done + failed}/${total}${failed > 0 ? `, ${failed} failed` : ""}`;
}
