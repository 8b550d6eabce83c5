/** Says when traces cannot be sent, and when they can again: once, not with each batch. */
import type { SpanExporter } from "@opentelemetry/sdk-trace";
import type { Log } from "../../core/log.ts";

export function noteFailures(exporter: SpanExporter, log: Log): SpanExporter {
  let isFailing = false;
  return {
    export(spans, done) {
      exporter.export(spans, (result) => {
        const failed = result.error !== undefined;
        if (failed && !isFailing) log.write("warn", "traces not sent", { reason: result.error?.message || String(result.error) });
        else if (!failed && isFailing) log.write("info", "traces are sent again");
        isFailing = failed;
        done(result);
      });
    },
    shutdown: () => exporter.shutdown(),
    ...(exporter.forceFlush && { forceFlush: () => exporter.forceFlush!() }),
  };
}
