/** Prisma Client on @prisma/adapter-pg: what applications do with it. The client is generated from the guide's schema into the working directory. */
import { strictEqual as is, ok, deepStrictEqual as same } from "node:assert";
import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import process from "node:process";
import { PrismaPg } from "@prisma/adapter-pg";
import { ca, failure, globex, ownBackend, report, samples, until, wayne } from "./report.mjs";
import { versionOf } from "./versions.mjs";

const schema = `generator client {
  provider = "prisma-client-js"
  output   = "./client"
}

datasource db {
  provider = "postgresql"
}

model Account {
  id           Int           @id @default(autoincrement())
  name         String        @db.VarChar(255)
  email        String        @unique @db.VarChar(255)
  balance      Decimal       @default(0) @db.Decimal(15, 2)
  transactions Transaction[]

  @@map("accounts")
}

model Transaction {
  id        Int     @id @default(autoincrement())
  accountId Int     @map("account_id")
  amount    Decimal @db.Decimal(15, 2)
  account   Account @relation(fields: [accountId], references: [id])

  @@map("transactions")
}
`;

const require = createRequire(import.meta.url);
const dir = join(import.meta.dirname, "generated");
mkdirSync(dir, { recursive: true });
writeFileSync(join(dir, "schema.prisma"), schema);
const cli = join(dirname(require.resolve("prisma/package.json")), "build/index.js");
execFileSync(process.execPath, [cli, "generate", "--schema", join(dir, "schema.prisma")], { stdio: ["ignore", "ignore", "inherit"] });
const { Prisma, PrismaClient } = require(join(dir, "client"));

async function using(work, { max = 1, statementTimeoutMs, password = wayne.password, database = wayne.database } = {}) {
  const { host, port, user } = wayne;
  const config = { host, port, user, password, database, max, ssl: { ca }, ...(statementTimeoutMs && { statement_timeout: statementTimeoutMs }) };
  const prisma = new PrismaClient({ adapter: new PrismaPg(config, { onPoolError: () => undefined, onConnectionError: () => undefined }) });
  try {
    return await work(prisma);
  } finally {
    await prisma.$disconnect();
  }
}

const like = (start) => ({ where: { email: { startsWith: start } } });
/** What PostgreSQL said, wherever this error keeps it. */
const told = (error) => JSON.stringify([error.message, error.meta, error.cause]);

await report(versionOf("@prisma/client"), {
  types: () =>
    using(async (prisma) => {
      const { text, big, numeric, json, list, bytes, time, uuid } = samples;
      const [row] = await prisma.$queryRaw`SELECT ${text}::text AS text, ${BigInt(big)}::bigint AS big, ${numeric}::numeric AS numeric,
        ${JSON.stringify(json)}::jsonb AS json, ${list}::text[] AS list, ${Uint8Array.from(bytes)}::bytea AS bytes, ${new Date(time)}::timestamptz AS time,
        ${uuid}::uuid AS uuid, ${null}::text AS nothing, ${true}::bool AS yes`;
      const { numeric: gotNumeric, bytes: gotBytes, ...others } = row;
      same(others, { text, big: BigInt(big), json, list, time: new Date(time), uuid, nothing: null, yes: true });
      is(gotNumeric.toFixed(), numeric);
      same([...gotBytes], bytes);
      await prisma.account.createMany({ data: Array.from({ length: 3000 }, (_, at) => ({ name: `n${at}`, email: `many${at}` })) });
      is((await prisma.account.findMany(like("many"))).length, 3000);
      is((await prisma.account.deleteMany(like("many"))).count, 3000);
    }),
  models: () =>
    using(async (prisma) => {
      const transactions = { create: [1, 2, 3].map((amount) => ({ amount })) };
      const { id } = await prisma.account.create({ data: { name: "Model", email: "model@test.com", balance: "10.50", transactions } });
      const found = await prisma.account.findUniqueOrThrow({ where: { id }, include: { transactions: { orderBy: { amount: "asc" } } } });
      same([found.balance.toFixed(2), found.transactions.map(({ amount }) => amount.toNumber())], ["10.50", [1, 2, 3]]);
      is((await prisma.transaction.aggregate({ _sum: { amount: true } }))._sum.amount.toNumber(), 6);
      await prisma.account.upsert({ where: { email: "model@test.com" }, create: { name: "", email: "" }, update: { balance: { increment: 1 } } });
      is((await prisma.account.findUnique({ where: { id } })).balance.toFixed(2), "11.50");
      await prisma.transaction.deleteMany({ where: { accountId: id } });
      await prisma.account.delete({ where: { id } });
    }),
  "prepared statements": "it binds parameters, and names no statement",
  transactions: () =>
    using(async (prisma) => {
      const create = (on, email) => on.account.create({ data: { name: "T", email } });
      const stop = new Error("roll back");
      const rolledBack = prisma.$transaction(async (tx) => {
        await create(tx, "tx1");
        throw stop;
      });
      is(await failure(rolledBack), stop);
      is(await prisma.account.count(like("tx")), 0);
      is((await failure(prisma.$transaction([create(prisma, "tx1"), create(prisma, "tx1")]))).code, "P2002");
      is(await prisma.account.count(like("tx")), 0);
      await prisma.$transaction(async (tx) => [await create(tx, "tx1"), await create(tx, "tx2")], { isolationLevel: "Serializable" });
      is(await prisma.account.count(like("tx")), 2);
    }),
  pool: () =>
    using(
      async (prisma) => {
        const rows = await Promise.all(Array.from({ length: 40 }, (_, at) => prisma.$queryRaw`SELECT ${at}::int AS at, pg_backend_pid() AS pid`));
        same(
          rows.map(([{ at }]) => at),
          rows.map((_, at) => at),
        );
        ok(new Set(rows.map(([{ pid }]) => pid)).size <= 4);
      },
      { max: 4 },
    ),
  cancellation: () =>
    using(
      async (prisma) => {
        ok(told(await failure(prisma.$queryRaw`SELECT pg_sleep(60)::text`)).includes("57014"));
        same(await prisma.$queryRaw`SELECT 1 AS one`, [{ one: 1 }]);
      },
      { statementTimeoutMs: 300 },
    ),
  errors: async () => {
    await using(async (prisma) => {
      const twice = await failure(prisma.account.create({ data: { name: "Zoe", email: "zoe@test.com" } }));
      ok(twice instanceof Prisma.PrismaClientKnownRequestError);
      is(twice.code, "P2002");
      const ddl = await failure(prisma.$executeRaw`CREATE TABLE more (id int)`);
      ok(told(ddl).includes("DDL not allowed on tenant databases, use workspace mode"), told(ddl));
      same(await prisma.$queryRaw`SELECT 1 AS one`, [{ one: 1 }]);
    });
    const wrong = await failure(using((prisma) => prisma.account.count(), { password: "wrong" }));
    is(wrong.code, "P1000"); // its own: authentication failed
    await failure(using((prisma) => prisma.account.count(), { database: globex.database }));
  },
  LISTEN: "it has none; pg beside it does",
  reconnect: () =>
    using((prisma) =>
      using(async (other) => {
        const ask = async () => (await prisma.$queryRawUnsafe(ownBackend))[0].pid;
        const first = await ask();
        await other.$queryRaw`SELECT pg_terminate_backend(${first}::int)`;
        await until(async () => {
          try {
            return (await ask()) !== first;
          } catch (error) {
            ok(/57P01|terminat|closed|ended|not queryable|ECONNRESET/i.test(told(error)), told(error));
            return false;
          }
        });
      }),
    ),
});
