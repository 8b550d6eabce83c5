/**
 * Prisma against the workspace: the SQL of `prisma migrate diff --script` between the schemas of two steps, applied with psql. Argument: the step.
 * Prisma 6, whose migrate can do this without a download; Prisma's own engine is fetched from a server of its makers.
 */
import { execFileSync } from "node:child_process";
import { existsSync, renameSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import process from "node:process";
import { workspace } from "./report.mjs";
import { versionOf } from "./versions.mjs";

const plan = process.argv[2] === "2" ? "plan Plan @default(FREE)" : "";
const schema = `datasource db {
  provider = "postgresql"
  url      = env("DATABASE_URL")
}

enum Plan {
  FREE
  PAID
}

model Account {
  id           Int           @id @default(autoincrement())
  name         String        @db.VarChar(255)
  email        String        @unique @db.VarChar(255)
  balance      Decimal       @default(0) @db.Decimal(15, 2)
  transactions Transaction[]
  ${plan}

  @@map("accounts")
}

model Transaction {
  id        Int     @id @default(autoincrement())
  accountId Int     @map("account_id")
  amount    Decimal @db.Decimal(15, 2)
  account   Account @relation(fields: [accountId], references: [id])

  @@index([accountId])
  @@map("transactions")
}
`;
const config = `import { PrismaPg } from "prisma6-adapter-pg";
import { defineConfig } from "prisma6/config";

export default defineConfig({
  schema: "schema.prisma",
  engine: "js",
  experimental: { adapter: true },
  adapter: async () => new PrismaPg({ connectionString: process.env.DATABASE_URL }),
});
`;
if (existsSync("schema.prisma")) renameSync("schema.prisma", "before.prisma");
writeFileSync("schema.prisma", schema);
writeFileSync("prisma.config.ts", config);
const from = existsSync("before.prisma") ? ["--from-schema-datamodel", "before.prisma"] : ["--from-empty"];
const cli = join(dirname(createRequire(import.meta.url).resolve("prisma6/package.json")), "build/index.js");
const env = { ...process.env, DATABASE_URL: `${workspace.url}?sslmode=require`, PGPASSWORD: workspace.password };
const sql = execFileSync(process.execPath, [cli, "migrate", "diff", ...from, "--to-schema-datamodel", "schema.prisma", "--script"], { env });
writeFileSync("migration.sql", sql);
const { host, port, user, database } = workspace;
const target = `host=${host} port=${port} user=${user} dbname=${database} sslmode=verify-full`;
execFileSync("psql", [target, "-X", "-v", "ON_ERROR_STOP=1", "--single-transaction", "-f", "migration.sql"], { env, stdio: "inherit" });
console.log(`version ${versionOf("prisma6")}`);
