/** Spans of what the gateway does, for whoever follows it in a tracing tool. Implemented in gateway/tracing/; where nobody asked for it there is no tracer. */

/** Names of things and numbers. Never a secret, nor a statement's text, parameters or rows. */
export type SpanFields = Readonly<Record<string, string | number | boolean | undefined>>;

export interface Span {
  /** A part of it. */
  begin(name: string, fields?: SpanFields): Span;
  set(fields: SpanFields): void;
  /** Only the first call counts. `failure` is a kind or an SQLSTATE, never a message; parts still open end with it. */
  end(failure?: string): void;
}

export interface Tracer {
  /** @param parent the caller's own span, as the `traceparent` header has it. */
  begin(name: string, fields?: SpanFields, parent?: string): Span;
}
