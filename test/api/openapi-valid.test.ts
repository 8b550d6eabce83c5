/** The OpenAPI document before somebody else's eyes: a validator, and examples that fit their schemas. */
import { Validator } from "@seriousme/openapi-schema-validator";
import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import { describe, expect, it } from "vitest";
import { makeWorld } from "./support/world.ts";

interface Media {
  readonly schema: object;
  readonly example?: unknown;
}
interface Operation {
  readonly operationId?: string;
  readonly requestBody?: { readonly content: Record<string, Media> };
  readonly responses: Record<string, { readonly content?: Record<string, Media> }>;
  readonly parameters?: readonly {
    readonly name: string;
    readonly in: string;
    readonly schema: { readonly example?: unknown; readonly type?: unknown };
  }[];
}

async function readDocument() {
  const { send } = await makeWorld();
  const { body } = await send("GET", "/openapi.json");
  return body as { components: { schemas: Record<string, object> }; paths: Record<string, Record<string, Operation>> };
}

function operationsOf(document: { paths: Record<string, Record<string, Operation>> }) {
  return Object.entries(document.paths).flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, operation]) => ({ name: `${method.toUpperCase()} ${path}`, operation })),
  );
}

describe("openapi.json", () => {
  it("validates", async () => {
    const result = await new Validator().validate(await readDocument());
    expect(result.errors ?? []).toEqual([]);
    expect(result.valid).toBe(true);
  });

  it("has an example for every JSON body, and each fits its schema", async () => {
    const document = await readDocument();
    const ajv = new Ajv2020({ strict: false, allErrors: true });
    (addFormats as unknown as (ajv: Ajv2020) => void)(ajv);
    ajv.addSchema({ $id: "tenantry:", ...document });
    const wrong: string[] = [];
    let bodies = 0;
    for (const { name, operation } of operationsOf(document)) {
      const all = {
        request: operation.requestBody?.content,
        ...Object.fromEntries(Object.entries(operation.responses).map(([status, { content }]) => [status, content])),
      };
      for (const [where, content] of Object.entries(all)) {
        const media = content?.["application/json"];
        if (!media) continue;
        bodies++;
        const validate = ajv.compile(JSON.parse(JSON.stringify(media.schema).replaceAll("#/components", "tenantry:#/components")));
        if (media.example === undefined || !validate(media.example)) {
          wrong.push(`${name} ${where}: ${JSON.stringify(media.example)} ${ajv.errorsText(validate.errors)}`);
        }
      }
    }
    expect(bodies).toBeGreaterThan(120);
    expect(wrong).toEqual([]);
  });

  it("gives every parameter of a path an example", async () => {
    const missing = operationsOf(await readDocument()).flatMap(({ name, operation }) =>
      (operation.parameters ?? []).filter((each) => each.in === "path" && each.schema.example === undefined).map((each) => `${name}: ${each.name}`),
    );
    expect(missing).toEqual([]);
  });

  it("pages every list the same way", async () => {
    const document = await readDocument();
    // A change that answers with a list's first page leaves the rest to GET.
    const reads = operationsOf(document).filter(({ name }) => name.startsWith("GET "));
    const lists = reads.filter(({ operation }) =>
      JSON.stringify(operation.responses["200"]?.content?.["application/json"]?.schema ?? {}).includes('"next_cursor"'),
    );
    const unpaged = lists.filter(({ name, operation }) => {
      if (name === "GET /errors") return false; // a catalogue, always whole
      const names = (operation.parameters ?? []).filter((each) => each.in === "query").map((each) => each.name);
      return !names.includes("limit") || !names.includes("cursor");
    });
    expect(lists.length).toBeGreaterThan(12);
    expect(unpaged.map(({ name }) => name)).toEqual([]);
  });
});
