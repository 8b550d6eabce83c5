/** Which settings of a client are made again on its next backend: those of transactions that were committed. */
import { describe, expect, it } from "vitest";
import { SessionSettings } from "../../../../engines/postgres/shared/session-settings.ts";
import type { SettingChange } from "../../../../engines/postgres/shared/session-state.ts";

const [idle, open] = [0x49, 0x54];
const set = (name: string, value: string): SettingChange => ({ kind: "set", name, sql: `SET ${name} = ${value}` });
const reading = (...changes: SettingChange[]) => ({ changes, pins: [], unpins: [], statement: undefined });

describe("session settings", () => {
  it("are kept in the order they were made, the last of a name only", () => {
    const settings = new SessionSettings();
    for (const change of [set("a", "1"), set("b", "1"), set("a", "2")]) {
      settings.succeeded(reading(change));
      settings.ready(idle, false);
    }
    expect(settings.statements).toEqual(["SET b = 1", "SET a = 2"]);
  });

  it("of a failed statement, or a transaction rolled back, are none", () => {
    const settings = new SessionSettings();
    settings.succeeded(reading(set("a", "1")));
    settings.ready(idle, true);
    settings.succeeded(reading(set("a", "2")));
    settings.ready(open, false);
    settings.rolledBack();
    settings.ready(idle, false);
    expect(settings.statements).toEqual([]);
  });

  it("count once their transaction is committed, also where the next one begins with it and fails", () => {
    const settings = new SessionSettings();
    settings.succeeded(reading(set("a", "1")));
    settings.ready(open, false);
    settings.committed();
    settings.ready(open, false);
    settings.succeeded(reading(set("a", "2")));
    settings.rolledBack();
    settings.ready(idle, false);
    expect(settings.statements).toEqual(["SET a = 1"]);
  });

  it("tie the client to its backend where a savepoint may have taken some of them back", () => {
    const settings = new SessionSettings();
    settings.succeeded(reading(set("a", "1")));
    settings.ready(open, false);
    settings.rolledBack();
    settings.ready(open, false);
    expect(settings.pins).toEqual(["setting"]);
  });

  it("are forgotten one by one, all at once, and with everything else", () => {
    const settings = new SessionSettings();
    settings.succeeded(reading(set("a", "1"), set("b", "1"), { kind: "reset", name: "a" }));
    settings.ready(idle, false);
    expect(settings.statements).toEqual(["SET b = 1"]);
    settings.succeeded(reading({ kind: "reset all" }));
    settings.ready(idle, false);
    expect(settings.statements).toEqual([]);
    settings.pin("listen");
    settings.succeeded(reading(set("c", "1")));
    settings.discarded();
    settings.ready(idle, false);
    expect([settings.statements, settings.isPinned]).toEqual([[], false]);
  });
});
