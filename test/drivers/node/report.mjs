/** How a driver's program reports: a line for each check, as support/language.ts says. The same under Node, Deno and Bun. */
import { readFileSync } from "node:fs";
import process from "node:process";

const env = process.env;

/** The tenant wayne, who has one account, Zoe's. */
export const wayne = target(env.TDB_DATABASE, env.TDB_PASSWORD);
export const globex = target(env.TDB_OTHER_DATABASE, env.TDB_OTHER_PASSWORD);
export const workspace = target(env.TDB_WORKSPACE_DATABASE, env.TDB_WORKSPACE_PASSWORD);

function target(database, password) {
  const user = env.TDB_USER;
  const [host, port] = [env.TDB_HOST, Number(env.TDB_PORT)];
  return { host, port, user, password, database, url: `postgresql://${user}:${password}@${host}:${port}/${database}` };
}

/** pool_mode=transaction: a backend for each transaction. */
export const shares = env.TDB_POOL_MODE === "transaction";

/** The backend of a session that keeps it: where backends are shared, it is the advisory lock that it is kept for. */
export const ownBackend = `SELECT pg_backend_pid() AS pid${shares ? " FROM pg_advisory_lock_shared(1)" : ""}`;

/** Counts, as `n`, the statements of this end that were prepared under this name; where backends are shared, the gateway gives them one of its own. */
export const countPrepared = (name, end) => `SELECT count(*)::int AS n FROM pg_prepared_statements
  WHERE statement LIKE '%${end}' AND name ${shares ? "LIKE 'tdb\\_%'" : `= '${name}'`}`;

export const ca = readFileSync(env.TDB_CA_FILE, "utf8");

/** @param checks by name: a function that throws when it does not work, or the reason why the driver cannot. */
export async function report(version, checks) {
  console.log(`version ${version}`);
  for (const [name, check] of Object.entries(checks)) {
    if (typeof check === "string") {
      console.log(`skip ${name}: ${check}`);
      continue;
    }
    try {
      await check();
      console.log(`ok ${name}`);
    } catch (error) {
      console.log(`fail ${name}: ${String(error?.message ?? error).replaceAll("\n", " ")}`);
      console.error(error);
    }
  }
}

/** What `work` fails with. @throws Error when it does not fail. */
export async function failure(work) {
  try {
    await work;
  } catch (error) {
    return error;
  }
  throw new Error("it was expected to fail");
}

/** Asks until the answer is yes. */
export async function until(ask) {
  const deadline = performance.now() + 20_000;
  while (!(await ask())) {
    if (performance.now() > deadline) throw new Error(`it never became true: ${ask}`);
    await new Promise((done) => setTimeout(done, 25));
  }
}

/** Values that are lost or bent where a driver, or what is between, gets a type wrong. */
export const samples = {
  text: "naïve ☃ 𝄞 'quoted' \\ back\nline",
  big: "9223372036854775807",
  numeric: "12345678901234567890.123456789",
  json: { a: [1, "two", null], "☃": { deep: true } },
  list: ["a", 'b"c', "d,e", "☃"],
  bytes: [0, 1, 2, 127, 128, 254, 255],
  time: "2024-02-29T12:34:56.789Z",
  uuid: "00112233-4455-6677-8899-aabbccddeeff",
};
