/** TypeORM: its entities besides what every ORM is asked. */
import { strictEqual as is, ok, deepStrictEqual as same } from "node:assert";
import { DataSource, EntitySchema, QueryFailedError } from "typeorm";
import { ca, failure, wayne } from "./report.mjs";
import { reportSuite } from "./suite.mjs";
import { versionOf } from "./versions.mjs";

const Account = new EntitySchema({
  name: "Account",
  tableName: "accounts",
  columns: {
    id: { type: Number, primary: true, generated: true },
    name: { type: "varchar", length: 255 },
    email: { type: "varchar", length: 255, unique: true },
    balance: { type: "decimal", precision: 15, scale: 2, default: 0 },
    createdAt: { name: "created_at", type: "timestamp", createDate: true },
  },
  relations: { transactions: { type: "one-to-many", target: "Transaction", inverseSide: "account" } },
});

const Transaction = new EntitySchema({
  name: "Transaction",
  tableName: "transactions",
  columns: { id: { type: Number, primary: true, generated: true }, amount: { type: "decimal", precision: 15, scale: 2 } },
  relations: { account: { type: "many-to-one", target: "Account", joinColumn: { name: "account_id" }, inverseSide: "transactions" } },
});

function make({ max = 1, statementTimeoutMs, password = wayne.password, database = wayne.database }) {
  const { host, port, user: username } = wayne;
  const extra = { max, ...(statementTimeoutMs && { statement_timeout: statementTimeoutMs }) };
  return new DataSource({
    type: "postgres",
    host,
    port,
    username,
    password,
    database,
    ssl: { ca },
    extra,
    entities: [Account, Transaction],
  }).initialize();
}

async function open(options) {
  const source = await make(options);
  return {
    query: (sql, values) => source.query(sql, values),
    transaction: (work) => source.transaction((manager) => work({ query: (sql, values) => manager.query(sql, values) })),
    close: () => source.destroy(),
  };
}

async function checkEntities() {
  const source = await make({ max: 2 });
  try {
    const accounts = source.getRepository(Account);
    const transactions = source.getRepository(Transaction);
    const account = await accounts.save({ name: "Entity", email: "entity@test.com", balance: "10.50" });
    await transactions.save([1, 2, 3].map((amount) => ({ amount, account })));
    const found = await accounts.findOne({ where: { email: "entity@test.com" }, relations: { transactions: true } });
    same([found.balance, found.transactions.map(({ amount }) => amount).sort()], ["10.50", ["1.00", "2.00", "3.00"]]);
    const twice = await failure(accounts.insert({ name: "Zoe", email: "zoe@test.com" }));
    ok(twice instanceof QueryFailedError);
    is(twice.driverError.constraint, "accounts_email_key");
    await transactions.delete({ account: { id: account.id } });
    await accounts.delete(account.id);
    is(await accounts.countBy({ email: "entity@test.com" }), 0);
  } finally {
    await source.destroy();
  }
}

await reportSuite(open, {
  version: versionOf("typeorm"),
  codeOf: (error) => (error.driverError ?? error).code,
  checks: {
    entities: checkEntities,
    "prepared statements": "it binds parameters, and names no statement",
    LISTEN: "it has none; pg beside it does",
  },
});
