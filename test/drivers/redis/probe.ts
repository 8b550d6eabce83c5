/** ioredis as a user's program, with its own defaults: connects, asks twice, prints the error's own words. Arguments as in clients.ts. */
import { readFileSync } from "node:fs";
import { Redis } from "ioredis";

const [port, ca, ...attempts] = process.argv.slice(2) as [string, string, ...string[]];
console.warn = () => undefined; // "Skipping the ready check", with the same text

async function attempt(username: string, password: string, tls: boolean): Promise<string> {
  const client = new Redis({
    host: "localhost",
    port: Number(port),
    ...(username !== "" && { username }),
    password,
    ...(tls && { tls: { ca: readFileSync(ca, "utf8") } }),
  });
  let connects = 0;
  client.on("connect", () => connects++);
  client.on("error", () => undefined); // told by the command too
  try {
    const first = await failure(client.get("a"));
    const second = await failure(client.set("a", "b"));
    if (first.startsWith("WRONGPASS")) return first;
    // A refused command must neither cost the connection nor the next command its answer.
    return connects === 1 && first === second ? first : `${connects} connections, then ${second}`;
  } finally {
    client.disconnect();
  }
}

async function failure(work: Promise<unknown>): Promise<string> {
  try {
    return `answered with ${await work}`;
  } catch (error) {
    return (error as Error).message;
  }
}

for (const each of attempts) {
  const [user = "", password = "", tls] = each.split("\t");
  console.log((await attempt(user, password, tls === "tls")).replaceAll("\n", " "));
}
process.exit(0);
