/** node-redis as a user's program, with its own defaults: connects, asks, prints the error's own words. Arguments as in clients.ts. */
import { readFileSync } from "node:fs";
import { createClient } from "redis";

const [port, ca, ...attempts] = process.argv.slice(2);

async function attempt(username, password, tls) {
  const socket = { host: "localhost", port: Number(port), ...(tls && { tls: true, ca: readFileSync(ca, "utf8") }) };
  const client = createClient({ ...(username !== "" && { username }), password, socket });
  // connect() of a wrong password never settles: the error event is where its user sees why.
  const failed = new Promise((_, reject) => client.on("error", reject));
  try {
    await Promise.race([client.connect(), failed]);
    return `answered with ${await client.get("a")}`;
  } catch (error) {
    return error.message;
  } finally {
    client.destroy();
  }
}

for (const each of attempts) {
  const [user, password, tls] = each.split("\t");
  console.log((await attempt(user, password, tls === "tls")).replaceAll("\n", " "));
}
process.exit(0);
