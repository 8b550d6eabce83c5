/** Traces as a collector gets them: parts inside their whole, outcomes, callers' traces gone on with; nothing where nobody asked. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openTracing, type RunningTracing } from "../../gateway/tracing/open.ts";
import { readTraceparent } from "../../gateway/tracing/traceparent.ts";
import { type Collector, openCollector } from "../support/collector.ts";

let collector: Collector;
let logged: string[];
beforeEach(async () => {
  collector = await openCollector();
  logged = [];
});
afterEach(() => collector.close());

const log = { write: (_level: string, event: string) => void logged.push(event) };
const open = (endpoint: string | undefined, env = {}, percent = 100) =>
  openTracing({ config: { "otel.endpoint": endpoint, "otel.sample_percent": percent }, env, log, version: "1.2.3" });
const opened = async (percent = 100) => (await open(`${collector.url}/`, {}, percent)) as RunningTracing;

describe("traces", () => {
  it("are not made unless a collector is named, or where they are switched off", async () => {
    expect(await open(undefined)).toBeUndefined();
    expect(await open(collector.url, { OTEL_SDK_DISABLED: "true" })).toBeUndefined();
    const byEnv = await open(undefined, { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url });
    expect(byEnv).toBeDefined();
    await byEnv!.stop();
  });

  it("have their parts inside them, with names and outcomes", async () => {
    const { tracer, stop } = await opened();
    const login = tracer.begin("login", { "client.address": "192.0.2.1", nothing: undefined });
    login.begin("authenticate").end();
    const lease = login.begin("lease", { n: 1 });
    login.set({ ok: false });
    login.end("no_backend_slot");
    login.end(); // only the first counts
    lease.end();
    await stop();
    const byName = Object.fromEntries(collector.spans.map((span) => [span.name, span]));
    expect(Object.keys(byName).sort()).toEqual(["authenticate", "lease", "login"]);
    expect(byName.login).toMatchObject({
      kind: 2,
      parentSpanId: undefined,
      failure: "no_backend_slot",
      fields: { "client.address": "192.0.2.1", ok: false, "error.type": "no_backend_slot" },
    });
    expect(byName.login!.fields).not.toHaveProperty("nothing");
    expect(byName.authenticate).toMatchObject({ parentSpanId: byName.login!.spanId, traceId: byName.login!.traceId, failure: undefined });
    expect(byName.lease).toMatchObject({ parentSpanId: byName.login!.spanId, failure: "no_backend_slot", fields: { n: 1 } });
    expect(collector.text).toContain('"service.version","value":{"stringValue":"1.2.3"}');
  });

  it("go on with the caller's, and are its or nobody's where only some are wanted", async () => {
    const { tracer, stop } = await opened(0);
    tracer.begin("unwanted").end();
    tracer.begin("wanted", {}, `00-${"a".repeat(32)}-${"b".repeat(16)}-01`).end();
    tracer.begin("not sampled there", {}, `00-${"a".repeat(32)}-${"b".repeat(16)}-00`).end();
    await stop();
    expect(collector.spans).toMatchObject([{ name: "wanted", traceId: "a".repeat(32), parentSpanId: "b".repeat(16) }]);
  });

  it.each([
    "",
    "nonsense",
    `ff-${"a".repeat(32)}-${"b".repeat(16)}-01`,
    `00-${"0".repeat(32)}-${"b".repeat(16)}-01`,
    `00-${"a".repeat(32)}-${"0".repeat(16)}-01`,
  ])("take %j for no caller's trace", (text) => expect(readTraceparent(text)).toBeUndefined());

  it("that cannot be sent are told of once, and harm nobody", async () => {
    collector.status = 400;
    const { tracer, stop } = await opened();
    tracer.begin("lost").end();
    await stop();
    expect(logged).toEqual(["traces not sent"]);
    expect(collector.spans).toEqual([]);
  });
});
