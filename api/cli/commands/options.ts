/** Options that several commands share, and how their values are read. */
import { type Command, InvalidArgumentError } from "commander";
import { UsageError } from "../errors.ts";

export interface PagingOptions {
  readonly limit?: number;
  readonly cursor?: string;
}

export function addPaging(command: Command): Command {
  return command
    .option("--limit <n>", "at most this many (100 unless told)", wholeNumber)
    .option("--cursor <cursor>", "next_cursor of the answer before");
}

export function pageQuery({ limit, cursor }: PagingOptions): { limit?: string; cursor?: string } {
  return { ...(limit !== undefined && { limit: String(limit) }), ...(cursor !== undefined && { cursor }) };
}

export function wholeNumber(text: string): number {
  if (!/^\d{1,15}$/.test(text)) throw new InvalidArgumentError("must be a whole number.");
  return Number(text);
}

export function trueOrFalse(text: string): boolean {
  if (text !== "true" && text !== "false") throw new InvalidArgumentError("must be true or false.");
  return text === "true";
}

/** For options that may be repeated or hold several values with commas. */
export function collect(text: string, earlier: string[]): string[] {
  return [...earlier, ...text.split(",").map((part) => part.trim())].filter((part) => part !== "");
}

/** For options that may be repeated and whose value may hold a comma. */
export function repeat(text: string, earlier: string[]): string[] {
  return [...earlier, text];
}

const unitMs: Record<string, number> = { m: 60_000, h: 3_600_000, d: 86_400_000 };

/** `90d`, `12h`, `30m` from now, or a time. @returns ISO 8601. */
export function readExpiry(text: string): string {
  const span = /^(\d{1,6})([mhd])$/.exec(text);
  const at = span ? Date.now() + Number(span[1]) * unitMs[span[2]!]! : Date.parse(text);
  if (!Number.isFinite(at)) throw new UsageError(`--expires must be a time as 2027-01-31T00:00:00Z, or from now as 12h or 90d, not ${text}`);
  return new Date(at).toISOString();
}
