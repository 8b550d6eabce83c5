/** The `traceparent` header of W3C Trace Context: which trace a request belongs to. */
import type { SpanContext } from "@opentelemetry/api";

/** @returns undefined for anything that is not one; the request then begins a trace of its own. */
export function readTraceparent(text: string): SpanContext | undefined {
  const [, version, traceId, spanId, flags] = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?$/.exec(text.trim()) ?? [];
  if (traceId === undefined || spanId === undefined || flags === undefined || version === "ff") return undefined;
  if (/^0+$/.test(traceId) || /^0+$/.test(spanId)) return undefined;
  return { traceId, spanId, traceFlags: Number.parseInt(flags, 16) & 1, isRemote: true };
}
