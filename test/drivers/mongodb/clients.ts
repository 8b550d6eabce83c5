/** MongoDB's clients as programs. Each is given connection strings, looks for documents at each, and prints a line: how many, or the error it shows. */
import { mkdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { type Finished, launcherOf, type RuntimeUnderTest, run } from "../../e2e/support/gateway.ts";

const here = import.meta.dirname;

export interface MongoClient {
  readonly name: string;
  /** What the user sees of an error document. */
  shown(code: number, codeName: string, text: string): string;
  /** What it says before that when it was told so while logging in. */
  readonly loginPrefix?: RegExp;
  /** Makes it ready. @returns why it cannot be run here, if so. */
  prepare(): Promise<string | undefined>;
  /** @returns a line for each connection string. */
  run(uris: readonly string[], caFile: string): Promise<string[]>;
}

const bare = (_code: number, _codeName: string, text: string) => text;

/** @throws Error when there are fewer or more lines than connection strings. */
function toLines(done: Finished, uris: readonly string[]): string[] {
  const lines = done.stdout.split("\n").slice(0, -1);
  if (lines.length !== uris.length) throw new Error(`${lines.length} answers to ${uris.length} attempts\n${done.stdout}${done.stderr}`);
  return lines;
}

async function missing(command: string, ...args: string[]): Promise<string | undefined> {
  const done = await run(command, args).catch(() => undefined);
  return done?.code === 0 ? undefined : `\`${[command, ...args].join(" ")}\` does not work here`;
}

function mongodb(runtime: RuntimeUnderTest, label: string): MongoClient {
  const [command, ...launcher] = launcherOf(runtime);
  const flags = launcher.slice(0, -1);
  return {
    name: `mongodb (${label})`,
    shown: bare,
    prepare: async () => undefined,
    run: async (uris) => toLines(await run(command, [...flags, join(here, "probe.ts"), ...uris]), uris),
  };
}

const mongosh: MongoClient = {
  name: "mongosh",
  shown: (_code, _codeName, text) => `MongoServerError: ${text}`,
  prepare: () => missing("mongosh", "--version"),
  async run(uris) {
    const seen: string[] = [];
    for (const uri of uris) {
      const done = await run("mongosh", ["--quiet", "--norc", uri, "--eval", "db.orders.find().toArray().length"]);
      seen.push(lastLine(done.stderr) || `${done.stdout.trim()} documents`);
    }
    return seen;
  },
};

const pymongo: MongoClient = {
  name: "pymongo",
  shown: (code, codeName, text) => `${text}, full error: {'ok': 0, 'errmsg': '${text}', 'code': ${code}, 'codeName': '${codeName}'}`,
  prepare: () => missing("python3", "-c", "import pymongo"),
  run: async (uris) => toLines(await run("python3", [join(here, "probe.py"), ...uris]), uris),
};

/** Programs built once are found again. */
async function makeDir(name: string): Promise<string> {
  const dir = join(here, "../../../node_modules/.cache/mongodb-drivers", name);
  await mkdir(dir, { recursive: true });
  return dir;
}

function goDriver(): MongoClient {
  let program = "";
  return {
    name: "Go driver",
    shown: (_code, codeName, text) => `(${codeName}) ${text}`,
    loginPrefix:
      /^connection\(\) error occurred during connection handshake: auth error: (sasl conversation error: )?unable to authenticate using mechanism "[A-Z0-9-]+": /,
    async prepare() {
      const noGo = await missing("go", "version");
      if (noGo) return noGo;
      program = join(await makeDir("go"), "probe");
      const built = await run("go", ["build", "-C", here, "-o", program, "."]);
      return built.code === 0 ? undefined : `it cannot be built: ${lastLine(built.stderr)}`;
    },
    run: async (uris) => toLines(await run(program, uris), uris),
  };
}

/** Stands for the server in messages that name it. */
const someServer = "localhost:27017";
const javaVersion = "5.6.1";
const javaArtifacts = ["mongodb-driver-sync", "mongodb-driver-core", "bson"];

function javaDriver(): MongoClient {
  let dir = "";
  return {
    name: "Java driver (last cause)",
    shown: (code, codeName, text) => {
      const document = `{"ok": 0, "errmsg": ${JSON.stringify(text)}, "code": ${code}, "codeName": "${codeName}"}`;
      return `Command execution failed on MongoDB server with error ${code} (${codeName}): '${text}' on server ${someServer}. The full response is ${document}`;
    },
    async prepare() {
      const noJava = (await missing("javac", "-version")) ?? (await missing("mvn", "-version"));
      if (noJava) return noJava;
      dir = await makeDir("java");
      for (const name of javaArtifacts) {
        const artifact = `org.mongodb:${name}:${javaVersion}`;
        const fetched = await run("mvn", ["-q", "dependency:copy", `-Dartifact=${artifact}`, `-DoutputDirectory=${dir}`, "-Dmdep.stripVersion=true"]);
        if (fetched.code !== 0) return `${artifact} cannot be had: ${lastLine(fetched.stdout)}`;
      }
      const compiled = await run("javac", ["-cp", join(dir, "*"), "-d", dir, join(here, "Probe.java")]);
      return compiled.code === 0 ? undefined : lastLine(compiled.stderr);
    },
    async run(uris, caFile) {
      const store = join(dir, "trust.p12");
      await rm(store, { force: true });
      await run("keytool", ["-importcert", "-noprompt", "-file", caFile, "-keystore", store, "-storepass", "changeit"]);
      const options = [`-Djavax.net.ssl.trustStore=${store}`, "-Djavax.net.ssl.trustStorePassword=changeit"];
      const lines = toLines(await run("java", [...options, "-cp", `${dir}:${join(dir, "*")}`, "Probe", ...uris]), uris);
      return lines.map((line) => line.replaceAll(/on server localhost:\d+/g, `on server ${someServer}`));
    },
  };
}

function lastLine(text: string): string {
  return text.trim().split("\n").at(-1) ?? "";
}

export const mongoClients: readonly MongoClient[] = [
  mongodb("node", "Node"),
  mongodb("deno", "Deno"),
  mongodb("bun", "Bun"),
  mongosh,
  pymongo,
  goDriver(),
  javaDriver(),
];
