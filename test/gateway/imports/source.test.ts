/** What is said when a source cannot be connected to. */
import { expect, it } from "vitest";
import { cannotConnect } from "../../../gateway/imports/source.ts";

it.each(["The server does not support SSL connections", "Server does not support secure connection"])("source: %s: tells the way out", (words) => {
  const refusal = cannotConnect(new Error(words));
  expect(refusal.message).toBe(`cannot connect to the source: ${words}; sslmode=disable in its URL connects in clear, for a network you trust`);
  expect(refusal.details.issues?.[0]?.path).toBe("connection");
});

it("source: other failures are told as they are", () => {
  expect(cannotConnect(new Error("no route")).message).toBe("cannot connect to the source: no route");
});
