/** core's Tracer with OpenTelemetry, sent to a collector by OTLP over HTTP. The packages are loaded where a collector is configured, and nowhere else. */
import type { Span as OtelSpan } from "@opentelemetry/api";
import type { Config } from "../../core/config.ts";
import type { Log } from "../../core/log.ts";
import type { Span, SpanFields, Tracer } from "../../core/tracing.ts";
import { noteFailures } from "./failures.ts";
import { readTraceparent } from "./traceparent.ts";

export interface RunningTracing {
  readonly tracer: Tracer;
  /** Sends what is left, for a few seconds at most. */
  stop(): Promise<void>;
}

export interface TracingOptions {
  readonly config: Pick<Config, "otel.endpoint" | "otel.sample_percent">;
  /** OTEL_EXPORTER_OTLP_ENDPOINT and its like, which the packages read themselves. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly log: Log;
  readonly version: string;
}

const sendTimeoutMs = 5000;

/** @returns undefined where no collector is named. */
export async function openTracing({ config, env, log, version }: TracingOptions): Promise<RunningTracing | undefined> {
  const endpoint = config["otel.endpoint"];
  const isNamed = endpoint ?? env.OTEL_EXPORTER_OTLP_ENDPOINT ?? env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT;
  if (!isNamed || env.OTEL_SDK_DISABLED === "true") return undefined;
  const [sdk, { OTLPTraceExporter }, { resourceFromAttributes }, api] = await Promise.all([
    import("@opentelemetry/sdk-trace"),
    import("@opentelemetry/exporter-trace-otlp-http"),
    import("@opentelemetry/resources"),
    import("@opentelemetry/api"),
  ]);
  const url = endpoint === undefined ? {} : { url: `${endpoint.replace(/\/+$/, "")}/v1/traces` };
  const exporter = noteFailures(new OTLPTraceExporter({ ...url, timeoutMillis: sendTimeoutMs }), log);
  const provider = new sdk.TracerProvider({
    resource: resourceFromAttributes({ "service.name": env.OTEL_SERVICE_NAME || "tenantry", "service.version": version }),
    sampler: new sdk.ParentBasedSampler({ root: new sdk.TraceIdRatioBasedSampler(config["otel.sample_percent"] / 100) }),
    spanProcessors: [new sdk.BatchSpanProcessor({ exporter, exportTimeoutMillis: sendTimeoutMs })],
  });
  const otel = provider.getTracer("tenantry", version);

  const wrap = (span: OtelSpan): Span => {
    const parts: Span[] = [];
    let isOver = false;
    return {
      begin(name, fields) {
        const part = wrap(otel.startSpan(name, { attributes: given(fields) }, api.trace.setSpan(api.ROOT_CONTEXT, span)));
        parts.push(part);
        return part;
      },
      set: (fields) => void span.setAttributes(given(fields)),
      end(failure) {
        if (isOver) return;
        isOver = true;
        for (const part of parts) part.end(failure);
        if (failure !== undefined) span.setStatus({ code: api.SpanStatusCode.ERROR, message: failure }).setAttribute("error.type", failure);
        span.end();
      },
    };
  };
  return {
    tracer: {
      begin(name, fields, parent) {
        const remote = parent === undefined ? undefined : readTraceparent(parent);
        const context = remote ? api.trace.setSpanContext(api.ROOT_CONTEXT, remote) : api.ROOT_CONTEXT;
        return wrap(otel.startSpan(name, { kind: api.SpanKind.SERVER, attributes: given(fields) }, context));
      },
    },
    stop: () => provider.shutdown().catch(() => undefined), // that they could not be sent has been told
  };
}

function given(fields: SpanFields = {}): Record<string, string | number | boolean> {
  return Object.fromEntries(Object.entries(fields).filter((entry): entry is [string, string | number | boolean] => entry[1] !== undefined));
}
