/** TypeORM against the workspace: migrations up to a step, its argument, then its own comparison of entities and database, which must find nothing left. */
import process from "node:process";
import { DataSource, EntitySchema, Table, TableColumn } from "typeorm";
import { ca, workspace } from "./report.mjs";
import { versionOf } from "./versions.mjs";

const step = Number(process.argv[2]);

class Tables1700000000000 {
  name = "Tables1700000000000";
  async up(runner) {
    const id = { name: "id", type: "serial", isPrimary: true, primaryKeyConstraintName: "pk" };
    const decimal = { type: "decimal", precision: 15, scale: 2 };
    await runner.createTable(
      new Table({
        name: "accounts",
        columns: [
          { ...id, primaryKeyConstraintName: "accounts_pk" },
          { name: "name", type: "varchar", length: "255" },
          { name: "email", type: "varchar", length: "255" },
          { name: "balance", ...decimal, default: 0 },
        ],
        uniques: [{ name: "accounts_email", columnNames: ["email"] }],
      }),
    );
    await runner.createTable(
      new Table({
        name: "transactions",
        columns: [
          { ...id, primaryKeyConstraintName: "transactions_pk" },
          { name: "account_id", type: "int" },
          { name: "amount", ...decimal },
        ],
        foreignKeys: [{ name: "transactions_account", columnNames: ["account_id"], referencedTableName: "accounts", referencedColumnNames: ["id"] }],
      }),
    );
  }
  async down() {}
}

class Plan1700000000001 {
  name = "Plan1700000000001";
  up = (runner) => runner.addColumn("accounts", new TableColumn({ name: "plan", type: "varchar", length: "20", default: "'free'" }));
  down = (runner) => runner.dropColumn("accounts", "plan");
}

const key = (name) => ({ type: Number, primary: true, generated: true, primaryKeyConstraintName: name });
const money = { type: "decimal", precision: 15, scale: 2 };
const Account = new EntitySchema({
  name: "Account",
  tableName: "accounts",
  columns: {
    id: key("accounts_pk"),
    name: { type: "varchar", length: 255 },
    email: { type: "varchar", length: 255 },
    balance: { ...money, default: 0 },
    ...(step === 2 && { plan: { type: "varchar", length: 20, default: "free" } }),
  },
  uniques: [{ name: "accounts_email", columns: ["email"] }],
});
const Transaction = new EntitySchema({
  name: "Transaction",
  tableName: "transactions",
  columns: { id: key("transactions_pk"), amount: money },
  relations: {
    account: {
      type: "many-to-one",
      target: "Account",
      nullable: false,
      joinColumn: { name: "account_id", foreignKeyConstraintName: "transactions_account" },
    },
  },
});

const { host, port, user: username, password, database } = workspace;
const migrations = [Tables1700000000000, Plan1700000000001].slice(0, step);
const options = { type: "postgres", host, port, username, password, database, ssl: { ca }, entities: [Account, Transaction], migrations };
const source = await new DataSource(options).initialize();
const done = await source.runMigrations();
if (done.length !== 1) throw new Error(`it ran ${JSON.stringify(done)}`);
const { upQueries } = await source.driver.createSchemaBuilder().log();
if (upQueries.length > 0) throw new Error(`left to do: ${upQueries.map(({ query }) => query).join("; ")}`);
await source.destroy();
console.log(`version ${versionOf("typeorm")}`);
