/** What drivers of MySQL, MongoDB and Redis are told at the listeners that redirect: one word for word answer each. */
import { connect } from "node:tls";
import { MongoClient } from "mongodb";
import mysql from "mysql2/promise";
import { respCommand } from "../../engines/support/openings.ts";

export interface RedirectAttempt {
  readonly port: number;
  readonly user: string;
  readonly password: string;
  readonly database: string;
  readonly tls: { readonly ca: string; readonly cert?: string; readonly key?: string };
}

/** By engine: connects, asks for data, and gives back the text of the error. */
export const redirectClients: Readonly<Record<"MySQL" | "MongoDB" | "Redis", (attempt: RedirectAttempt) => Promise<string>>> = {
  MySQL: ({ port, user, password, database, tls }) =>
    textOf(async () => {
      const client = await mysql.createConnection({ host: "localhost", port, user, password, database, ssl: { ...tls } });
      await client.end();
    }),
  MongoDB: ({ port, user, password, database, tls }) =>
    textOf(async () => {
      const client = new MongoClient(`mongodb://localhost:${port}/`, {
        auth: { username: user, password },
        authSource: database,
        authMechanism: "SCRAM-SHA-256",
        directConnection: true,
        tls: true,
        ...tls,
      });
      try {
        await client.db(database).collection("orders").findOne();
      } finally {
        await client.close();
      }
    }),
  // Without a driver: each has greetings of its own around these two commands.
  Redis: async ({ port, password, database, tls }) => {
    const socket = connect({ host: "localhost", port, ...tls });
    socket.write(Buffer.concat([respCommand("AUTH", database.replace(/_workspace$/, ""), password), respCommand("GET", "key")]));
    let said = "";
    for await (const chunk of socket) {
      said += chunk;
      if (said.match(/\r\n/g)?.length === 2) break;
    }
    return said;
  },
};

async function textOf(work: () => Promise<unknown>): Promise<string> {
  try {
    await work();
  } catch (error) {
    return (error as Error).message;
  }
  return "let in";
}
