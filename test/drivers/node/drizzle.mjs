/** Drizzle: its tables and prepared queries besides what every ORM is asked. */
import { strictEqual as is, deepStrictEqual as same } from "node:assert";
import { eq, sql } from "drizzle-orm";
import { drizzle } from "drizzle-orm/node-postgres";
import { integer, numeric, pgTable, serial, varchar } from "drizzle-orm/pg-core";
import pg from "pg";
import { ca, countPrepared, wayne } from "./report.mjs";
import { reportSuite } from "./suite.mjs";
import { versionOf } from "./versions.mjs";

const accounts = pgTable("accounts", {
  id: serial("id").primaryKey(),
  name: varchar("name", { length: 255 }).notNull(),
  email: varchar("email", { length: 255 }).notNull().unique(),
  balance: numeric("balance", { precision: 15, scale: 2 }).default("0"),
});

const transactions = pgTable("transactions", {
  id: serial("id").primaryKey(),
  accountId: integer("account_id")
    .notNull()
    .references(() => accounts.id),
  amount: numeric("amount", { precision: 15, scale: 2 }).notNull(),
});

function make({ max = 1, statementTimeoutMs, password = wayne.password, database = wayne.database }) {
  const { host, port, user } = wayne;
  const pool = new pg.Pool({
    host,
    port,
    user,
    password,
    database,
    max,
    ssl: { ca },
    ...(statementTimeoutMs && { statement_timeout: statementTimeoutMs }),
  });
  pool.on("error", () => undefined);
  return { db: drizzle({ client: pool }), pool };
}

/** A template of its own kind, each $n a parameter. It leaves times as text. */
async function raw(on, text, values) {
  const chunks = text.split(/\$(\d+)/).map((part, at) => (at % 2 === 0 ? sql.raw(part) : sql`${sql.param(values[Number(part) - 1])}`));
  return (await on.execute(sql.join(chunks))).rows;
}

function open(options) {
  const { db, pool } = make(options);
  return {
    query: (text, values) => raw(db, text, values),
    transaction: (work) => db.transaction((tx) => work({ query: (text, values) => raw(tx, text, values) })),
    close: () => pool.end(),
  };
}

async function using(work) {
  const { db, pool } = make({ max: 1 });
  try {
    await work(db);
  } finally {
    await pool.end();
  }
}

await reportSuite(open, {
  version: versionOf("drizzle-orm"),
  // It wraps what the driver says.
  codeOf: (error) => (error.cause ?? error).code,
  messageOf: (error) => (error.cause ?? error).message,
  checks: {
    tables: () =>
      using(async (db) => {
        const [{ id }] = await db
          .insert(accounts)
          .values({ name: "Table", email: "table@test.com", balance: "10.50" })
          .returning({ id: accounts.id });
        await db.insert(transactions).values(["1", "2", "3"].map((amount) => ({ accountId: id, amount })));
        const rows = await db.select().from(accounts).innerJoin(transactions, eq(transactions.accountId, accounts.id)).orderBy(transactions.amount);
        same(
          rows.map((row) => [row.accounts.balance, row.transactions.amount]),
          [
            ["10.50", "1.00"],
            ["10.50", "2.00"],
            ["10.50", "3.00"],
          ],
        );
        await db.delete(transactions).where(eq(transactions.accountId, id));
        await db.delete(accounts).where(eq(accounts.id, id));
        is(await db.$count(accounts, eq(accounts.email, "table@test.com")), 0);
      }),
    "prepared statements": () =>
      using(async (db) => {
        const byEmail = db
          .select({ name: accounts.name })
          .from(accounts)
          .where(eq(accounts.email, sql.placeholder("email")))
          .prepare("by_email");
        for (let at = 0; at < 50; at++) same(await byEmail.execute({ email: "zoe@test.com" }), [{ name: "Zoe" }]);
        is((await raw(db, countPrepared("by_email", '"email" = _1'), []))[0].n, 1);
      }),
    LISTEN: "it has none; pg beside it does",
  },
});
