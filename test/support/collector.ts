/** An OpenTelemetry collector in memory: what was sent to /v1/traces as OTLP in JSON. */
import { once } from "node:events";
import { createServer } from "node:http";

export interface SentSpan {
  readonly name: string;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId: string | undefined;
  readonly kind: number;
  readonly fields: Readonly<Record<string, unknown>>;
  /** What it ended with; undefined where it went well. */
  readonly failure: string | undefined;
}

export interface Collector {
  readonly url: string;
  readonly spans: readonly SentSpan[];
  /** Everything as it was sent. */
  readonly text: string;
  /** What it answers with from now on. */
  status: number;
  close(): Promise<void>;
}

interface Attribute {
  readonly key: string;
  readonly value: Readonly<Record<string, unknown>>;
}

export async function openCollector(): Promise<Collector> {
  const spans: SentSpan[] = [];
  let text = "";
  const server = createServer(async (request, response) => {
    let body = "";
    for await (const chunk of request) body += chunk;
    response.writeHead(collector.status, { "content-type": "application/json" }).end("{}");
    if (collector.status !== 200 || request.url !== "/v1/traces") return;
    text += body;
    for (const resource of JSON.parse(body).resourceSpans) for (const scope of resource.scopeSpans) spans.push(...scope.spans.map(readSpan));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const collector = {
    url: `http://127.0.0.1:${(server.address() as { port: number }).port}`,
    spans,
    get text() {
      return text;
    },
    status: 200,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, "close");
    },
  };
  return collector;
}

function readSpan(span: SentSpan & { attributes: Attribute[]; status: { code: number; message?: string } }): SentSpan {
  const { name, traceId, spanId, kind } = span;
  const fields = Object.fromEntries(span.attributes.map(({ key, value }) => [key, Object.values(value)[0]]));
  const failure = span.status.code === 2 ? (span.status.message ?? "") : undefined;
  return { name, traceId, spanId, parentSpanId: span.parentSpanId || undefined, kind, fields, failure };
}
