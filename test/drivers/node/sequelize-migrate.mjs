/** Sequelize against the workspace: `sync({ alter: true })` of the models of a step, its argument. */
import process from "node:process";
import { DataTypes, Sequelize } from "sequelize";
import { ca, workspace } from "./report.mjs";
import { versionOf } from "./versions.mjs";

const { host, port, user, password, database } = workspace;
const sequelize = new Sequelize(database, user, password, { host, port, dialect: "postgres", logging: false, dialectOptions: { ssl: { ca } } });
const Account = sequelize.define(
  "Account",
  {
    name: { type: DataTypes.STRING(255), allowNull: false },
    email: { type: DataTypes.STRING(255), allowNull: false, unique: "accounts_email" },
    balance: { type: DataTypes.DECIMAL(15, 2), defaultValue: 0 },
    ...(process.argv[2] === "2" && { plan: { type: DataTypes.ENUM("free", "paid"), allowNull: false, defaultValue: "free" } }),
  },
  { tableName: "accounts" },
);
const Transaction = sequelize.define("Transaction", { amount: DataTypes.DECIMAL(15, 2) }, { tableName: "transactions" });
Transaction.belongsTo(Account, { foreignKey: { name: "account_id", allowNull: false } });
await sequelize.sync({ alter: true });
await sequelize.close();
console.log(`version ${versionOf("sequelize")}`);
