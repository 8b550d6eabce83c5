/** Sequelize: its own models besides what every ORM is asked. */
import { strictEqual as is, ok, deepStrictEqual as same } from "node:assert";
import { DataTypes, Sequelize, UniqueConstraintError } from "sequelize";
import { ca, failure, wayne } from "./report.mjs";
import { reportSuite } from "./suite.mjs";
import { versionOf } from "./versions.mjs";

function make({ max = 1, statementTimeoutMs, password = wayne.password, database = wayne.database }) {
  return new Sequelize(database, wayne.user, password, {
    host: wayne.host,
    port: wayne.port,
    dialect: "postgres",
    logging: false,
    pool: { max },
    dialectOptions: { ssl: { ca }, ...(statementTimeoutMs && { statement_timeout: statementTimeoutMs }) },
  });
}

function open(options) {
  const sequelize = make(options);
  const query = async (sql, bind, transaction) => {
    const [rows] = await sequelize.query(sql, { bind, ...(transaction && { transaction }) });
    return rows;
  };
  return {
    query,
    transaction: (work) => sequelize.transaction((transaction) => work({ query: (sql, values) => query(sql, values, transaction) })),
    close: () => sequelize.close(),
  };
}

async function checkModels() {
  const sequelize = make({ max: 2 });
  try {
    const Account = sequelize.define(
      "Account",
      { name: DataTypes.STRING(255), email: DataTypes.STRING(255), balance: DataTypes.DECIMAL(15, 2) },
      { tableName: "accounts", timestamps: false },
    );
    const Transaction = sequelize.define(
      "Transaction",
      { account_id: DataTypes.INTEGER, amount: DataTypes.DECIMAL(15, 2) },
      { tableName: "transactions", timestamps: false },
    );
    Account.hasMany(Transaction, { foreignKey: "account_id" });
    const made = await Account.create({ name: "Model", email: "model@test.com", balance: "10.50" });
    await Transaction.bulkCreate([1, 2, 3].map((amount) => ({ account_id: made.id, amount })));
    const found = await Account.findOne({ where: { email: "model@test.com" }, include: Transaction });
    same([found.balance, found.Transactions.map(({ amount }) => amount).sort()], ["10.50", ["1.00", "2.00", "3.00"]]);
    is(await Transaction.sum("amount"), 6);
    const twice = await failure(Account.create({ name: "Zoe", email: "zoe@test.com" }));
    ok(twice instanceof UniqueConstraintError);
    same(Object.keys(twice.fields), ["email"]);
    await Transaction.destroy({ where: { account_id: made.id } });
    await made.destroy();
    is(await Account.count({ where: { email: "model@test.com" } }), 0);
  } finally {
    await sequelize.close();
  }
}

await reportSuite(open, {
  version: versionOf("sequelize"),
  codeOf: (error) => (error.original ?? error).code,
  checks: {
    models: checkModels,
    "prepared statements": "it binds parameters, and names no statement",
    LISTEN: "it has none; pg beside it does",
  },
});
