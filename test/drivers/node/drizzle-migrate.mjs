/** Drizzle Kit against the workspace: `generate` and `migrate` for the schema of a step, its argument, in the working directory. */
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import process from "node:process";
import { ca, workspace } from "./report.mjs";
import { versionOf } from "./versions.mjs";

const plan = process.argv[2] === "2" ? 'plan: varchar({ length: 20 }).notNull().default("free"),' : "";
writeFileSync(
  "schema.js",
  `import { index, integer, numeric, pgTable, serial, varchar } from "drizzle-orm/pg-core";

export const accounts = pgTable("accounts", {
  id: serial().primaryKey(),
  name: varchar({ length: 255 }).notNull(),
  email: varchar({ length: 255 }).notNull().unique(),
  balance: numeric({ precision: 15, scale: 2 }).default("0"),
  ${plan}
});

export const transactions = pgTable("transactions", {
  id: serial().primaryKey(),
  accountId: integer("account_id").notNull().references(() => accounts.id),
  amount: numeric({ precision: 15, scale: 2 }).notNull(),
}, (table) => [index().on(table.accountId)]);
`,
);
const { host, port, user, password, database } = workspace;
const config = {
  dialect: "postgresql",
  schema: "./schema.js",
  out: "./drizzle",
  dbCredentials: { host, port, user, password, database, ssl: { ca } },
};
writeFileSync("drizzle.config.json", JSON.stringify(config));
const kit = join(dirname(createRequire(import.meta.url).resolve("drizzle-kit")), "bin.cjs");
for (const command of ["generate", "migrate"]) {
  execFileSync(process.execPath, [kit, command, "--config", "drizzle.config.json"], { stdio: "inherit" });
}
console.log(`\nversion ${versionOf("drizzle-kit")}`); // its own last line may be open
