/** What is published of the settings table: help, JSON Schema, documentation. */
import { describe, expect, it } from "vitest";
import { describeSettings } from "../../../core/config.ts";
import { formatHelp, makeJsonSchema } from "../../../gateway/config/describe.ts";
import { readPublications } from "../../../gateway/config/publish.ts";

describe("settings, published", () => {
  it("are current: otherwise run npm run docs", async () => {
    for (const { path, current, wanted } of await readPublications()) expect(current, path).toBe(wanted);
  });

  it("has every flag in --help, in lines that fit a terminal", () => {
    const help = formatHelp();
    for (const { flag } of describeSettings()) expect(help).toContain(`  ${flag}`);
    expect(Math.max(...help.split("\n").map((line) => line.length))).toBeLessThanOrEqual(120);
  });

  it("has every key of the file in the schema, nested, closed, with type and description", () => {
    type Node = { properties: Record<string, Node>; additionalProperties: unknown; description?: string };
    const schema = makeJsonSchema() as unknown as Node;
    for (const row of describeSettings().filter((one) => one.inFile)) {
      const names = row.path.split(".");
      const parent = names.length === 1 ? schema : schema.properties[names[0]!]!;
      expect(parent.additionalProperties, row.path).toBe(false);
      expect(parent.properties[names.at(-1)!]?.description, row.path).toBe(row.help);
    }
    expect(schema.properties.config).toBeUndefined();
  });
});
