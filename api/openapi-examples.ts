/** Whole examples for the OpenAPI document, put together from the examples of its fields: every body has one to copy. */

type Schema = Readonly<Record<string, unknown>>;
type Schemas = Readonly<Record<string, unknown>>;

const deepest = 12;

/** The document with an `example` beside every JSON schema of a body that has none. */
export function withExamples<D extends object>(document: D): D {
  const schemas = ((document as { components?: { schemas?: Schemas } }).components?.schemas ?? {}) as Schemas;
  const paths = (document as { paths?: Record<string, Record<string, unknown>> }).paths ?? {};
  for (const operations of Object.values(paths)) {
    for (const operation of Object.values(operations)) {
      for (const content of bodiesOf(operation)) {
        const media = content["application/json"] as { schema?: Schema; example?: unknown } | undefined;
        if (media?.schema && media.example === undefined) media.example = exampleOf(media.schema, schemas, 0);
      }
    }
  }
  return document;
}

function bodiesOf(operation: unknown): Record<string, unknown>[] {
  const { requestBody, responses } = (operation ?? {}) as { requestBody?: { content?: object }; responses?: Record<string, { content?: object }> };
  return [requestBody, ...Object.values(responses ?? {})].flatMap((body) => (body?.content ? [body.content as Record<string, unknown>] : []));
}

function exampleOf(schema: Schema, schemas: Schemas, depth: number): unknown {
  if (schema.example !== undefined) return schema.example;
  if (Array.isArray(schema.examples) && schema.examples.length > 0) return schema.examples[0];
  if (depth > deepest) return null;
  const next = (inner: unknown) => exampleOf((inner ?? {}) as Schema, schemas, depth + 1);
  if (typeof schema.$ref === "string") return next(schemas[schema.$ref.split("/").at(-1) ?? ""]);
  if (schema.const !== undefined) return schema.const;
  if (Array.isArray(schema.enum)) return schema.enum[0];
  if (schema.default !== undefined) return schema.default;
  if (Array.isArray(schema.allOf)) return Object.assign({}, ...schema.allOf.map(next), schema.properties ? exampleOfObject(schema, next) : {});
  for (const choice of ["anyOf", "oneOf"]) if (Array.isArray(schema[choice])) return next(schema[choice][0]);
  return exampleOfType(schema, next);
}

function exampleOfType(schema: Schema, next: (inner: unknown) => unknown): unknown {
  const type = Array.isArray(schema.type) ? schema.type[0] : schema.type;
  switch (type) {
    case "object":
      return exampleOfObject(schema, next);
    case "array":
      return schema.items === undefined ? [] : [next(schema.items)];
    case "string":
      return "text";
    case "integer":
    case "number":
      return typeof schema.minimum === "number" ? schema.minimum : 1;
    case "boolean":
      return false;
    default:
      return null;
  }
}

function exampleOfObject(schema: Schema, next: (inner: unknown) => unknown): Record<string, unknown> {
  const properties = (schema.properties ?? {}) as Record<string, unknown>;
  return Object.fromEntries(Object.entries(properties).map(([name, inner]) => [name, next(inner)]));
}
