/** The settings table as people and editors read it: --help, the JSON Schema, the documentation's table. */
import * as z from "zod";
import { describeSettings, type SettingDescription, schemaOf } from "../../core/config.ts";

const helpColumn = 34;
const helpWidth = 110;

/** What `tdb up --help` prints. */
export function formatHelp(): string {
  const rows = describeSettings().flatMap((row) => helpRow(`${row.flag} ${placeholder(row)}`.trimEnd(), helpText(row)));
  return [
    "Usage: tdb up [flags]",
    "",
    "Starts the gateway in the foreground. Settings come from the configuration file, then TDB_* in the",
    "environment, then flags; the later wins. --pg-port is TDB_PG_PORT in the environment and pg_port in the file.",
    "Lists are separated by commas; --no-NAME turns a switch off.",
    "",
    "Flags:",
    ...helpRow("--check", "Validate the configuration and exit."),
    ...helpRow("-h, --help", "Show this."),
    ...rows,
    "",
  ].join("\n");
}

/** The JSON Schema of the configuration file (draft 2020-12). */
export function makeJsonSchema(): Record<string, unknown> {
  const properties: Record<string, unknown> = { $schema: { type: "string", description: "Where this schema is; for editors." } };
  const groups = new Map<string, Record<string, unknown>>();
  for (const row of describeSettings().filter((one) => one.inFile)) {
    const [group, name] = row.path.includes(".") ? row.path.split(".") : [undefined, row.path];
    const target = group === undefined ? properties : (groups.get(group) ?? makeGroup(properties, groups, group));
    target[name!] = propertyOf(row);
  }
  return {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: "Tenantry configuration",
    description: "tenantry.json: settings of the gateway. Environment variables and flags win over it.",
    type: "object",
    properties,
    additionalProperties: false,
  };
}

/** The table of docs/configuration.md. */
export function formatSettingsTable(): string {
  const rows = describeSettings().map((row) => {
    const notes = [row.reload ? "" : "restart", row.inFile ? "" : "not in the file", row.secret ? "secret" : ""].filter(Boolean).join(", ");
    return `| \`${row.path}\` | ${formatDefault(row) || "–"} | ${row.expected.replaceAll("|", "\\|")} | ${row.help} | ${notes} |`;
  });
  return ["| setting | default | value | what it does | notes |", "| --- | --- | --- | --- | --- |", ...rows].join("\n");
}

function helpText(row: SettingDescription): string {
  const given = formatDefault(row).replaceAll("`", "");
  return given === "" ? row.help : `${row.help} Default ${given}.`;
}

function formatDefault(row: SettingDescription): string {
  if (row.default === undefined) return "";
  if (Array.isArray(row.default)) return row.default.length === 0 ? "" : `\`${row.default.join(", ")}\``;
  if (typeof row.default === "object") return Object.keys(row.default).length === 0 ? "" : `\`${JSON.stringify(row.default)}\``;
  return `\`${row.default}\``;
}

function placeholder(row: SettingDescription): string {
  switch (row.type) {
    case "port":
    case "remote port":
      return "PORT";
    case "int":
      return "N";
    case "duration":
      return row.path.endsWith("_ms") ? "MS" : "S";
    case "bool":
      return "";
    case "path":
      return "PATH";
    case "url":
      return "URL";
    case "enum":
      return row.expected.replace("one of ", "").replaceAll(", ", "|");
    case "cidr list":
    case "name list":
    case "word list":
      return "LIST";
    case "url map":
      return "JSON";
    case "string":
      return "TEXT";
  }
}

/** Name at the left, text wrapped in a column of its own. */
function helpRow(name: string, text: string): readonly string[] {
  const lines = [""];
  for (const word of text.split(" ")) {
    const line = lines.at(-1)!;
    if (line !== "" && helpColumn + line.length + 1 + word.length > helpWidth) lines.push(word);
    else lines[lines.length - 1] = line === "" ? word : `${line} ${word}`;
  }
  const [first, ...rest] = lines.map((line) => " ".repeat(helpColumn) + line);
  const head = `  ${name}`;
  return head.length < helpColumn ? [head + first!.slice(head.length), ...rest] : [head, first!, ...rest];
}

function makeGroup(properties: Record<string, unknown>, groups: Map<string, Record<string, unknown>>, group: string): Record<string, unknown> {
  const inside: Record<string, unknown> = {};
  groups.set(group, inside);
  properties[group] = { type: "object", properties: inside, additionalProperties: false };
  return inside;
}

function propertyOf(row: SettingDescription): Record<string, unknown> {
  const { $schema: _, ...schema } = z.toJSONSchema(schemaOf(row.path)) as Record<string, unknown>;
  return { description: row.help, ...schema, ...(row.default === undefined ? {} : { default: row.default }) };
}
