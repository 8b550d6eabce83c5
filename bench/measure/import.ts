/** Imports: a shared database split into tenants, beside a shell loop of `psql -c "COPY … TO STDOUT" | psql -c "COPY … FROM STDIN"`. */
import type { Context } from "../context.ts";
import { ask, type Section } from "../section.ts";
import { callApi } from "../stage/api.ts";
import { pause, runProgram } from "../stage/children.ts";
import { type Gateway, type RuntimeName, startGateway, withClient } from "../stage/gateway.ts";
import type { PostgresServer } from "../stage/postgres.ts";

const columns = { customers: "id, name, email", orders: "id, customer_id, total, placed_at", items: "id, order_id, product, quantity, price" };
const tables = (field: string) => `
CREATE TABLE customers (id bigint PRIMARY KEY, ${field}name text NOT NULL, email text);
CREATE TABLE orders (id bigint PRIMARY KEY, ${field}customer_id bigint NOT NULL REFERENCES customers, total numeric(12,2), placed_at timestamptz);
CREATE TABLE items (id bigint PRIMARY KEY, order_id bigint NOT NULL REFERENCES orders, product text, quantity int, price numeric(12,2));
CREATE INDEX items_order ON items (order_id);
`;

interface Size {
  readonly tenants: number;
  readonly rows: number;
}

interface Way {
  readonly name: string;
  readonly checks: string;
  readonly seconds: number;
}

export async function measureImport(context: Context): Promise<Section> {
  const size = context.quick ? { tenants: 20, rows: 100_000 } : { tenants: 100, rows: 1_000_000 };
  context.say("imports: filling the shared database");
  await fillSource(context.server, size);
  const done: Way[] = [];
  for (const [name, atOnce] of [
    ["psql \\| psql, one after another", 1],
    ["psql \\| psql, 4 at a time", 4],
  ] as const) {
    context.say(`imports: ${name}`);
    done.push({ name, checks: "none", seconds: await importByHand(context.server, size, atOnce) });
  }
  const [loop] = done;
  for (const runtime of context.runtimes) {
    for (const verify of ["checksum", "count"] as const) {
      context.say(`imports: ${runtime}, ${verify}`);
      done.push({ name: `import-data, ${runtime}`, checks: verify, seconds: await importByGateway(context, runtime, size, verify) });
    }
  }
  const perSecond = (seconds: number) => Math.round(size.rows / seconds).toLocaleString("en");
  return {
    name: "imports",
    title: `Imports: ${size.rows.toLocaleString("en")} rows of 3 tables into ${size.tenants} tenants that exist, from a database on the same server`,
    columns: ["way", "checks", "seconds", "rows/s"],
    rows: done.map(({ name, checks, seconds }) => [name, checks, seconds.toFixed(1), perSecond(seconds)]),
    asks: done
      .filter(({ checks }) => checks === "checksum")
      .map(({ name, seconds }) => ask(`${name}: time against the psql loop`, seconds / loop!.seconds, "<", 1, (ratio) => `${ratio.toFixed(2)}×`)),
    samples: done,
  };
}

/** A tenth customers, three orders each, two items an order; every table but the last names the tenant. */
async function fillSource(server: PostgresServer, { tenants, rows }: Size): Promise<void> {
  await makeDatabase(server, "import_source");
  const client = await server.connect("import_source");
  const customers = rows / 10;
  try {
    await client.query(tables("tenant_id text NOT NULL, "));
    await client.query(
      `INSERT INTO customers SELECT i, 't' || i % ${tenants}, 'customer ' || i, md5(i::text) || '@example.com' FROM generate_series(1, ${customers}) i`,
    );
    await client.query(
      `INSERT INTO orders SELECT i, 't' || (1 + i % ${customers}) % ${tenants}, 1 + i % ${customers}, i % 1000 + 0.99, now() - i * interval '1 second' FROM generate_series(1, ${customers * 3}) i`,
    );
    await client.query(
      `INSERT INTO items SELECT i, 1 + i % ${customers * 3}, 'product ' || i % 500, i % 9, i % 100 + 0.5 FROM generate_series(1, ${customers * 6}) i`,
    );
    await client.query("CREATE INDEX ON customers (tenant_id); CREATE INDEX ON orders (tenant_id)");
    await client.query("VACUUM ANALYZE");
  } finally {
    await client.end();
  }
}

async function makeDatabase(server: PostgresServer, name: string, template = "template1"): Promise<void> {
  const admin = await server.connect("postgres");
  await admin.query(`CREATE DATABASE ${name} TEMPLATE ${template}`).finally(() => admin.end());
}

/** What one would type, into databases made before, with the same conditions: seconds. */
async function importByHand(server: PostgresServer, { tenants }: Size, atOnce: number): Promise<number> {
  const template = `hand_${atOnce}`;
  await makeDatabase(server, template);
  const client = await server.connect(template);
  await client.query(tables("")).finally(() => client.end());
  for (let i = 0; i < tenants; i++) await makeDatabase(server, `${template}_${i}`, template);
  const to = (database: string) => `psql -q "host=${server.socketDir} port=${server.port} user=${server.user} dbname=${database}"`;
  const copy = (table: keyof typeof columns, condition: string) =>
    `${to("import_source")} -c "COPY (SELECT ${columns[table]} FROM ${table} t WHERE ${condition}) TO STDOUT" | ${to(`${template}_$1`)} -c "COPY ${table} FROM STDIN"`;
  const own = "tenant_id = 't$1'";
  const steps = [copy("customers", own), copy("orders", own), copy("items", `EXISTS (SELECT FROM orders o WHERE o.id = t.order_id AND o.${own})`)];
  const script = `import_one() { set -e -o pipefail; ${steps.join("; ")}; }; export -f import_one; seq 0 ${tenants - 1} | xargs -P ${atOnce} -I{} bash -c 'import_one {}'`;
  const startedMs = performance.now();
  await runProgram("bash", ["-c", script], { env: { PATH: process.env.PATH, PGPASSWORD: server.password }, timeoutMs: 600_000 });
  return (performance.now() - startedMs) / 1000;
}

async function importByGateway(context: Context, runtime: RuntimeName, size: Size, verify: "checksum" | "count"): Promise<number> {
  const flags = ["--import-allow-addresses", "127.0.0.1", "--spare-databases", "0"];
  const gateway = await startGateway(`imports_${runtime}_${verify}`, runtime, context.dir, context.server, flags);
  try {
    await callApi(gateway.api, "POST", "/workspaces", { name: "shop", database: "PostgreSQL" });
    await withClient(gateway.workspace("shop"), (client) => client.query(tables("")));
    for (let i = 0; i < size.tenants; i++) await callApi(gateway.api, "POST", "/tenants", { tenant_id: `t${i}`, databases: [{ blueprint: "shop" }] });
    const { port, user, password } = context.server;
    const connection = { engine: "PostgreSQL", host: "127.0.0.1", port, user, password, database: "import_source", sslmode: "disable" };
    const startedMs = performance.now();
    await callApi(gateway.api, "POST", "/workspaces/shop/import-data", { connection, verify });
    await untilDone(gateway, size);
    return (performance.now() - startedMs) / 1000;
  } finally {
    await gateway.stop();
  }
}

async function untilDone(gateway: Gateway, size: Size): Promise<void> {
  for (;;) {
    type Status = { status: string; error: string | null; rows_done: number };
    const { status, error, rows_done } = await callApi<Status>(gateway.api, "GET", "/workspaces/shop/import-data/status");
    if (status === "done" && rows_done === size.rows) return;
    if (status !== "queued" && status !== "running") throw new Error(`the import is ${status} with ${rows_done} rows: ${error}`);
    await pause(100);
  }
}
