/** Answers that are written as they come: server-sent events and JSON lines. A client that leaves aborts what feeds them. */
import { GatewayError } from "../core/errors.ts";
import type { ApiContext } from "./context.ts";

/** A line of comment this often keeps proxies from closing a silent stream. */
const heartbeatMs = 15_000;

type Source<T> = (signal: AbortSignal) => AsyncIterable<T>;

export function streamEvents<T>(c: ApiContext, source: Source<T>, present: (item: T) => { event: string; data: unknown }): Response {
  const encode = (item: T) => {
    const { event, data } = present(item);
    return `event: ${event}\ndata: ${JSON.stringify(data)}\n\n`;
  };
  return stream(c, "text/event-stream", source, encode, (fault) => `event: error\ndata: ${JSON.stringify(fault)}\n\n`, ":\n\n");
}

export function streamLines<T>(c: ApiContext, source: Source<T>, present: (item: T) => unknown): Response {
  return stream(
    c,
    "application/x-ndjson",
    source,
    (item) => `${JSON.stringify(present(item))}\n`,
    (fault) => `${JSON.stringify(fault)}\n`,
  );
}

/** One item is asked for at a time, when the client has taken the last. A failure half way is the last item, since the status has gone out. */
function stream<T>(
  c: ApiContext,
  contentType: string,
  source: Source<T>,
  encode: (item: T) => string,
  encodeFault: (fault: object) => string,
  heartbeat?: string,
): Response {
  const left = new AbortController();
  const encoder = new TextEncoder();
  const items = source(AbortSignal.any([left.signal, c.req.raw.signal]))[Symbol.asyncIterator]();
  let beat: ReturnType<typeof setInterval> | undefined;
  const body = new ReadableStream<Uint8Array>({
    start(controller) {
      if (heartbeat !== undefined) beat = setInterval(() => controller.enqueue(encoder.encode(heartbeat)), heartbeatMs);
    },
    async pull(controller) {
      try {
        const next = await items.next();
        if (!next.done) return controller.enqueue(encoder.encode(encode(next.value)));
      } catch (error) {
        if (left.signal.aborted) return;
        controller.enqueue(encoder.encode(encodeFault(describeFault(c, error))));
      }
      clearInterval(beat);
      controller.close();
    },
    async cancel() {
      clearInterval(beat);
      left.abort(new Error("the client left"));
      await items.return?.();
    },
  });
  return c.body(body, 200, { "Content-Type": contentType, "Cache-Control": "no-store", "X-Accel-Buffering": "no" });
}

/** As the envelope words it, without the envelope. */
function describeFault(c: ApiContext, error: unknown): object {
  if (error instanceof GatewayError && error.kind !== "internal_error") {
    return { success: false, code: error.refusal.code, error: error.message };
  }
  const reason = error instanceof Error ? (error.stack ?? error.message) : String(error);
  c.var.api.log.write("error", "api failed while streaming", { request_id: c.var.requestId, error: reason });
  return { success: false, code: "internal_error", error: `internal error; give the id ${c.var.requestId} to the operator of the gateway` };
}
