// Runs a client's catalog queries as one session through psql: each statement stands below a line `-- name`, or `-- rows: name` where it must give some.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";

const sections = readFileSync(process.argv[2], "utf8").split(/^-- /m).slice(1);
const script = ["\\o /dev/null"];
for (const section of sections) {
  const [heading, ...lines] = section.split("\n");
  const name = heading.replace(/^rows: /, "");
  const wants = heading.startsWith("rows: ") ? "'0' = :'ROW_COUNT'" : "false";
  script.push(
    lines.join("\n"),
    "\\set told :LAST_ERROR_MESSAGE",
    "\\set failed :ERROR",
    `SELECT ${wants} AS empty \\gset`,
    `\\if :failed \\echo fail ${name}: :told`,
    `\\elif :empty \\echo fail ${name}: no rows`,
    `\\else \\echo ok ${name}`,
    "\\endif",
  );
}
const { TDB_HOST, TDB_PORT, TDB_USER, TDB_DATABASE, TDB_PASSWORD, TDB_CA_FILE } = process.env;
const target = `host=${TDB_HOST} port=${TDB_PORT} user=${TDB_USER} dbname=${TDB_DATABASE} sslmode=verify-full sslrootcert=${TDB_CA_FILE}`;
const done = spawnSync("psql", ["-XAtq", target], { input: script.join("\n"), encoding: "utf8", env: { ...process.env, PGPASSWORD: TDB_PASSWORD } });
process.stderr.write(done.stderr);
const lines = done.stdout.split("\n");
const answered = lines.filter((line) => line.startsWith("ok ")).length;
process.stdout.write(lines.filter((line) => line.startsWith("fail ")).join("\n"));
if (answered === sections.length) process.stdout.write(`ok ${answered} catalog queries\n`);
else process.exitCode = 1;
