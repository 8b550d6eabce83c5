/** mongodb (npm) as a user's program: looks for documents at each URI, prints how many there are or the error's own words. Arguments as in clients.ts. */
import { MongoClient } from "mongodb";

async function attempt(uri: string): Promise<string> {
  const client = new MongoClient(uri);
  try {
    const found = await client.db().collection("orders").find().toArray();
    return `${found.length} documents`;
  } catch (error) {
    return String((error as Error).message);
  } finally {
    await client.close();
  }
}

for (const uri of process.argv.slice(2)) console.log((await attempt(uri)).replaceAll("\n", " "));
