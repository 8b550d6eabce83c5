/** mysql2 as a user's program: connects, runs a statement, prints what came back or the error's own words. Arguments as in clients.ts. */
import { readFileSync } from "node:fs";
import mysql from "mysql2/promise";

const [host, port, user, ca, ...attempts] = process.argv.slice(2) as [string, string, string, string, ...string[]];

async function attempt(password: string, database: string, tls: boolean, sql: string): Promise<string> {
  try {
    const connection = await mysql.createConnection({
      host,
      port: Number(port),
      user,
      password,
      ...(database !== "" && { database }),
      ...(tls && { ssl: { ca: readFileSync(ca, "utf8") } }),
    });
    try {
      const [rows] = await connection.query({ sql, rowsAsArray: true });
      return (rows as unknown[][]).map((row) => String(row[0])).join(",");
    } finally {
      connection.destroy();
    }
  } catch (error) {
    return String((error as Error).message);
  }
}

for (const each of attempts) {
  const [password = "", database = "", tls, sql = ""] = each.split("\t");
  console.log((await attempt(password, database, tls === "tls", sql)).replaceAll("\n", " "));
}
