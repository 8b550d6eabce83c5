/** Which client that has not logged in goes: checked against a plain count, whoever comes and goes. */
import { describe, expect, it } from "vitest";
import { Newcomers } from "../../core/newcomers.ts";
import { Prng } from "../engines/postgres/support/prng.ts";

interface Client {
  readonly address: string | undefined;
}

/** The first of the addresses that have most, where that is more than one; else the first of all. */
function candidates(present: readonly Client[]): Client[] {
  const counts = new Map<string, Client[]>();
  for (const client of present) if (client.address !== undefined) counts.set(client.address, [...(counts.get(client.address) ?? []), client]);
  const most = Math.max(0, ...[...counts.values()].map((clients) => clients.length));
  if (most < 2) return present.slice(0, 1);
  return [...counts.values()].filter((clients) => clients.length === most).map((clients) => clients[0]!);
}

describe("newcomers", () => {
  it("give up the slowest of the address that has most, exempt ones only where nobody has more than one", () => {
    const random = new Prng(7);
    for (let round = 0; round < 50; round++) {
      const newcomers = new Newcomers<Client>();
      const present: Client[] = [];
      for (let step = 0; step < 200; step++) {
        const gone = random.chance(0.45) && present.length > 0 ? random.pick(present) : undefined;
        if (gone) {
          present.splice(present.indexOf(gone), 1);
          newcomers.remove(gone);
          newcomers.remove(gone); // a second time says nothing
        } else {
          const client = { address: random.pick(["a", "b", "c", undefined]) };
          present.push(client);
          newcomers.add(client, client.address);
        }
        expect(newcomers.size).toBe(present.length);
        if (present.length === 0) expect(newcomers.next).toBeUndefined();
        else expect(candidates(present)).toContain(newcomers.next);
      }
    }
  });

  it("leave every honest address alone while one attacker has more, however many they are", () => {
    const newcomers = new Newcomers<string>();
    for (let i = 0; i < 500; i++) newcomers.add(`honest ${i}`, `honest ${i}`);
    for (let i = 0; i < 100_000; i++) {
      newcomers.add(`attacker ${i}`, "attacker");
      if (newcomers.size > 1000) newcomers.remove(newcomers.next as string);
    }
    for (let i = 0; i < 500; i++) newcomers.remove(`honest ${i}`);
    expect(newcomers.size).toBe(500);
  });
});
