/** The rest of a canceled request: dropped up to its Sync, however it is cut. */
import { expect, it } from "vitest";
import { UntilSync } from "../../../../engines/postgres/shared/until-sync.ts";
import { bind, execute, parse, query, sync } from "../../../e2e/support/wire.ts";

it("until sync: finds it at every cut, and gives back what stands behind", () => {
  const before = Buffer.concat([parse("s", "SELECT 'S\0\0\0\x04'"), bind("", "s"), execute(), sync]);
  const behind = query("SELECT 1");
  const all = Buffer.concat([before, behind]);
  for (let cut = 0; cut <= all.length; cut++) {
    const reader = new UntilSync();
    const [first, second] = [all.subarray(0, cut), all.subarray(cut)];
    const found = reader.skip(first);
    if (cut < before.length) {
      expect(found).toBeUndefined();
      expect(Buffer.concat([reader.skip(second)!])).toEqual(behind);
    } else expect(Buffer.concat([found!, second])).toEqual(behind);
  }
});
