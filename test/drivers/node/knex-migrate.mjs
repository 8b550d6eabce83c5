/** Knex against the workspace: `migrate.latest` with the migrations up to a step, its argument. */
import process from "node:process";
import knex from "knex";
import { ca, workspace } from "./report.mjs";
import { versionOf } from "./versions.mjs";

const migrations = [
  {
    name: "1_tables",
    async up(db) {
      await db.schema.createTable("accounts", (table) => {
        table.increments("id");
        table.string("name", 255).notNullable();
        table.string("email", 255).notNullable().unique();
        table.decimal("balance", 15, 2).defaultTo(0);
        table.timestamp("created_at").defaultTo(db.raw("now()"));
      });
      await db.schema.createTable("transactions", (table) => {
        table.increments("id");
        table.integer("account_id").notNullable().references("accounts.id").index();
        table.decimal("amount", 15, 2).notNullable();
      });
    },
    down: async () => undefined,
  },
  {
    name: "2_plan",
    up: (db) => db.schema.alterTable("accounts", (table) => table.string("plan", 20).notNullable().defaultTo("free").index()),
    down: (db) => db.schema.alterTable("accounts", (table) => table.dropColumn("plan")),
  },
];

const { host, port, user, password, database } = workspace;
const connected = knex({ client: "pg", connection: { host, port, user, password, database, ssl: { ca } } });
const migrationSource = {
  getMigrations: async () => migrations.slice(0, Number(process.argv[2])),
  getMigrationName: ({ name }) => name,
  getMigration: async (migration) => migration,
};
const [, done] = await connected.migrate.latest({ migrationSource });
if (done.length !== 1) throw new Error(`it ran ${JSON.stringify(done)}`);
await connected.destroy();
console.log(`version ${versionOf("knex")}`);
