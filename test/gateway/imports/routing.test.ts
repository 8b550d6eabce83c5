/** Routing, names and sums of imports, without a database. */
import { describe, expect, test } from "vitest";
import type { SourceForeignKey, SourceTable } from "../../../gateway/imports/catalog.ts";
import { RowSum } from "../../../gateway/imports/checksum.ts";
import { postgresDialect } from "../../../gateway/imports/dialect.ts";
import { convertPostgres, matchTable } from "../../../gateway/imports/match-columns.ts";
import { ownedBy } from "../../../gateway/imports/owner-sql.ts";
import { planRouting } from "../../../gateway/imports/routing.ts";
import { nameTenants, tenantIdOf } from "../../../gateway/imports/tenant-names.ts";

/** `id, tenant_id?, a*` : a column each, `?` for nullable; foreign keys as `column → table`, several columns with `+`. */
function table(name: string, columns: string, ...keys: string[]): SourceTable {
  const foreignKeys: SourceForeignKey[] = keys.map((text) => {
    const [from, target] = text.split(" → ") as [string, string];
    const own = from.split("+");
    return { name: `${name}_${own.join("_")}_fkey`, columns: own, target, targetColumns: own.length === 1 ? ["id"] : own };
  });
  return {
    key: name,
    schema: "public",
    name,
    partitioned: false,
    columns: columns.split(" ").map((column) => ({
      name: column.replace("?", ""),
      type: "integer",
      nullable: column.endsWith("?"),
      generated: false,
      hasDefault: false,
    })),
    primaryKey: ["id"],
    foreignKeys,
    indexes: [],
    estimatedRows: 0,
  };
}

const routes = (tables: readonly SourceTable[], follow?: Record<string, string>) => {
  const plan = planRouting(tables, "tenant_id", follow);
  const routed = [...plan.routed.values()].map((entry) => [
    entry.table.key,
    entry.distance,
    entry.routingColumn ?? entry.follows.map((key) => key.columns.join("+")).join(", "),
  ]);
  return { routed, shared: plan.shared.map(({ key }) => key) };
};

describe("import routing", () => {
  test("several hops, by the shortest way, whatever order the tables come in", () => {
    const tables = [
      table("notes", "id item_id", "item_id → items"),
      table("items", "id order_id", "order_id → orders"),
      table("orders", "id tenant_id"),
      table("plans", "id"),
    ];
    const expected = {
      routed: [
        ["orders", 0, "tenant_id"],
        ["items", 1, "order_id"],
        ["notes", 2, "item_id"],
      ],
      shared: ["plans"],
    };
    expect(routes(tables)).toEqual(expected);
    expect(routes([...tables].reverse())).toEqual(expected);
  });

  test("the table the routing field refers to is routed by its key", () => {
    const plan = planRouting([table("tenants", "id"), table("orders", "id tenant_id", "tenant_id → tenants")], "tenant_id");
    expect(plan.routed.get("tenants")).toMatchObject({ routedBy: "registry", routingColumn: "id", distance: 0 });
    expect(plan.routed.get("orders")).toMatchObject({ routedBy: "field" });
  });

  test("rings of tables end, and a table only in a ring of its own belongs to nobody", () => {
    const tables = [
      table("teams", "id tenant_id lead", "lead → members"),
      table("members", "id team badge", "team → teams", "badge → badges"),
      table("badges", "id holder", "holder → members"),
      table("chicken", "id egg", "egg → eggs"),
      table("eggs", "id chicken", "chicken → chicken"),
      table("folders", "id parent?", "parent → folders"),
    ];
    expect(routes(tables)).toEqual({
      routed: [
        ["teams", 0, "tenant_id"],
        ["members", 1, "team"],
        ["badges", 2, "holder"],
      ],
      shared: ["chicken", "eggs", "folders"],
    });
  });

  test("required before nullable, nullable ones in turn; what is not followed is reported, and may be chosen", () => {
    const tables = [
      table("accounts", "id tenant_id"),
      table("tickets", "id tenant_id"),
      table("transfers", "id payer payee", "payer → accounts", "payee → accounts"),
      table("comments", "id ticket? account?", "ticket → tickets", "account → accounts"),
      table("mixed", "id ticket? account", "ticket → tickets", "account → accounts"),
    ];
    const plan = planRouting(tables, "tenant_id");
    const names = (key: string) => ({
      follows: plan.routed.get(key)!.follows.map(({ name }) => name),
      ambiguous: plan.routed.get(key)!.ambiguous.map(({ name }) => name),
    });
    expect(names("transfers")).toEqual({ follows: ["transfers_payee_fkey"], ambiguous: ["transfers_payer_fkey"] });
    expect(names("comments")).toEqual({ follows: ["comments_account_fkey", "comments_ticket_fkey"], ambiguous: ["comments_ticket_fkey"] });
    expect(names("mixed")).toEqual({ follows: ["mixed_account_fkey"], ambiguous: ["mixed_ticket_fkey"] });
    const chosen = planRouting(tables, "tenant_id", { transfers: "transfers_payer_fkey" });
    expect(chosen.routed.get("transfers")!.follows[0]!.name).toBe("transfers_payer_fkey");
    expect(() => planRouting(tables, "tenant_id", { transfers: "nope" })).toThrow(
      /table "transfers" has no foreign key "nope" that leads to a tenant/,
    );
    expect(() => planRouting(tables, "tenant_id", { nope: "x" })).toThrow(/there is no table "nope"/);
    expect(() => planRouting(tables, "tenant_id", { accounts: "x" })).toThrow(/table "accounts" names the tenant itself/);
  });

  test("no table has the field", () => {
    expect(() => planRouting([table("orders", "id")], "org_id")).toThrow(/^no table found with routing field 'org_id'$/);
  });

  test("conditions quote what they name, and a value cannot end its literal", () => {
    const tables = [table('o"rders', "id tenant_id"), table("items", "id order_id", 'order_id → o"rders')];
    const sql = ownedBy(postgresDialect, planRouting(tables, "tenant_id"), "items", { value: "o'neil\\" });
    expect(sql).toBe(`EXISTS (SELECT 1 FROM ONLY "public"."o""rders" o1 WHERE o1."id" = t."order_id" AND o1."tenant_id" =  E'o''neil\\\\')`);
  });
});

describe("import columns", () => {
  const route = planRouting([table("orders", "id tenant_id total")], "tenant_id").routed.get("orders")!;
  const options = { dropRoutingColumn: true, skipColumns: [] as string[] };
  const match = (target: SourceTable | undefined, changed = {}) =>
    matchTable(route.table, target, route, { ...options, ...changed }, convertPostgres);

  test("the routing field is left behind; what is missing on either side is told with the way out", () => {
    expect(match(table("orders", "id total"))).toMatchObject({ problems: [], table: { columns: [{ name: "id" }, { name: "total" }], exact: 2 } });
    expect(match(undefined).problems).toEqual([expect.stringContaining("table orders is not in the blueprint")]);
    expect(match(table("orders", "id")).problems).toEqual([
      expect.stringMatching(/no column total: add it in the workspace, or .*skip_columns: \["orders.total"\]/),
    ]);
    expect(match(table("orders", "id"), { skipColumns: ["orders.total"] }).problems).toEqual([]);
    expect(match(table("orders", "id total tenant_id")).problems).toEqual([expect.stringMatching(/still has tenant_id/)]);
    expect(match(table("orders", "id total"), { dropRoutingColumn: false }).problems).toEqual([
      expect.stringMatching(/no column tenant_id: set drop_routing_column/),
    ]);
    expect(match(table("orders", "id total region")).problems).toEqual([expect.stringMatching(/column region .* must not be NULL/)]);
    expect(match(table("orders", "id total region?")).problems).toEqual([]);
  });

  test("columns whose type differs come last and are compared by NULL only", () => {
    const target = table("orders", "id total");
    const wider = { ...target, columns: target.columns.map((column) => (column.name === "id" ? { ...column, type: "bigint" } : column)) };
    expect(match(wider).table).toMatchObject({ columns: [{ name: "total" }, { name: "id" }], exact: 1 });
  });
});

describe("tenant names of an import", () => {
  test.each([
    ["wayne", "wayne"],
    ["42", "42"],
    ["3f2b8c1e-0d4a-4b6f-9a57-0c1d2e3f4a5b", "3f2b8c1e_0d4a_4b6f_9a57_0c1d2e3f4a5b"],
    ["Acme Inc.", "acme_inc_6fcd6062"],
    ["acme-inc", "acme_inc_35d20a69"],
    ["a__b", "a_b_8e7ad6e7"],
    ["Ünïcode GmbH & Co. KG with a very long name", "u_ni_code_gmbh_co_kg_with_a_ver_"],
    ["日本", "t_"],
  ])("%s becomes %s", (value, id) => {
    expect(tenantIdOf(value).startsWith(id.slice(0, -8))).toBe(true);
    expect(tenantIdOf(value)).toMatch(/^(?!.*__)[a-z0-9_]{1,40}$/);
  });

  test("chosen ids come first; two values for one tenant are refused by name", () => {
    const values = [
      { value: "Acme", rows: 1 },
      { value: "acme", rows: 2 },
    ];
    expect(nameTenants(values, { Acme: "big_acme" }).map(({ tenantId }) => tenantId)).toEqual(["big_acme", "acme"]);
    expect(() => nameTenants(values, { Acme: "acme" })).toThrow(/"Acme" and "acme" both come to tenant "acme"/);
    expect(() => nameTenants(values, { Acme: "Not An Id" })).toThrow(/"Not An Id" is not a tenant id/);
  });
});

describe("import checksum", () => {
  const bytes = (text: string) => new TextEncoder().encode(text);
  const sumOf = (chunks: readonly string[], exact?: number) => {
    const sum = new RowSum(exact);
    for (const chunk of chunks) sum.add(bytes(chunk));
    return { rows: sum.rows, digest: sum.digest() };
  };
  const rows = "1\tone\t\\N\n2\ttwo\tx\n3\t\ty\n";

  test("is the same for every cut and every order, and another for any changed byte", () => {
    const whole = sumOf([rows]);
    expect(whole.rows).toBe(3);
    for (let cut = 0; cut <= rows.length; cut++) expect(sumOf([rows.slice(0, cut), rows.slice(cut)])).toEqual(whole);
    expect(sumOf(["3\t\ty\n", "1\tone\t\\N\n", "2\ttwo\tx\n"])).toEqual(whole);
    for (let at = 0; at < rows.length; at++) {
      if (rows[at] === "\n") continue;
      expect(sumOf([`${rows.slice(0, at)}~${rows.slice(at + 1)}`]).digest).not.toBe(whole.digest);
    }
    expect(sumOf([rows, "3\t\ty\n"]).digest).not.toBe(whole.digest);
  });

  test("beyond the exact fields only NULL counts", () => {
    const whole = sumOf([rows], 2);
    expect(sumOf(["1\tone\t\\N\n2\ttwo\tanything\n3\t\t\\\\N\n"], 2)).toEqual(whole);
    expect(sumOf(["1\tone\t\\N\n2\ttwo\t\\N\n3\t\ty\n"], 2)).not.toEqual(whole);
    expect(sumOf(["1\tone\tz\n2\ttwo\tx\n3\t\ty\n"], 2)).not.toEqual(whole);
    for (let cut = 0; cut <= rows.length; cut++) expect(sumOf([rows.slice(0, cut), rows.slice(cut)], 2)).toEqual(whole);
  });

  test("half a row has no sum", () => {
    expect(() => sumOf(["1\tone"])).toThrow(RangeError);
  });
});
