/** The JDBC driver and what sits on it, as one Maven project. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { installed, makeWorkDir, missing, must, reasonOf, sourceDir } from "../support/install.ts";
import type { Command, Language, Row } from "../support/language.ts";

/** An older version that many applications still have, beside the one in pom.xml. */
const olderDriver = "org.postgresql:postgresql:42.7.4";
const plugin = "org.apache.maven.plugins:maven-dependency-plugin:3.9.0";

let workDir = "";
let classPath = "";

async function prepare(): Promise<string | undefined> {
  const absent = (await missing("javac", "-version")) ?? (await missing("mvn", "-version"));
  if (absent) return absent;
  return reasonOf(async () => {
    const dir = await installed("java", ["pom.xml"], async (filling) => {
      const project = ["-q", "-B", "-f", join(filling, "pom.xml")];
      await must("mvn", [...project, `${plugin}:copy-dependencies`, `-DoutputDirectory=${join(filling, "jars")}`]);
      await must("mvn", [...project, `${plugin}:copy`, `-Dartifact=${olderDriver}`, `-DoutputDirectory=${join(filling, "older")}`]);
    });
    workDir = await makeWorkDir(dir);
    classPath = `${join(dir, "jars")}/*:${join(workDir, "classes")}`;
    const sources = (await readdir(join(sourceDir("java"), "tenantry"))).map((name) => join(sourceDir("java"), "tenantry", name));
    await must("javac", ["-nowarn", "-d", join(workDir, "classes"), "-cp", `${join(dir, "jars")}/*`, ...sources]);
  });
}

/** The folder a program is run in is where Hibernate and Spring look for their properties. */
function run(...args: string[]): Command {
  return ["java", "-XX:TieredStopAtLevel=1", ...args];
}

/** The guide shows what goes to the top of a file and what into a method. */
function inMain(text: string, file: string): string {
  const body = text.replaceAll(/^import .*\n/gm, "");
  const imports = (text.match(/^import .*\n/gm) ?? []).join("");
  return `${imports}public class ${file.replace(".java", "")} { public static void main(String[] args) throws Exception {\n${body}}}\n`;
}

const rows: readonly Row[] = [
  {
    name: "pgjdbc",
    snippet: { files: ["Jdbc.java"], commands: [run("Jdbc.java")], complete: inMain, proof: "reads" },
    checks: run("tenantry.Jdbc"),
    sharing: true,
  },
  {
    name: "pgjdbc 42.7.4",
    snippet: { files: ["Jdbc.java"], commands: [run("-cp", "../../older/*", "Jdbc.java")], complete: inMain, proof: "reads" },
    note: "an older version",
  },
  {
    name: "HikariCP",
    snippet: { files: ["Hikari.java"], commands: [run("Hikari.java")], complete: inMain, proof: "reads" },
    checks: run("tenantry.Pool"),
    pool: run("tenantry.Pool", "impatient"),
  },
  {
    name: "Hibernate",
    snippet: { files: ["hibernate.properties"], commands: [run("tenantry.Configured", "hibernate")], proof: "reads" },
    checks: run("tenantry.Hibernate"),
    migration: { command: run("tenantry.Hibernate") },
    note: "migrations by `hbm2ddl.auto=update`",
  },
  {
    name: "Spring Data JPA",
    snippet: { files: ["application.properties"], commands: [run("tenantry.Configured", "spring")], proof: "reads" },
    checks: run("tenantry.SpringData"),
    note: "in Spring Boot, whose version this is",
  },
  {
    name: "jOOQ",
    snippet: { files: ["Jooq.java"], commands: [run("Jooq.java")], complete: inMain, proof: "reads" },
    checks: run("tenantry.Jooq"),
  },
  {
    name: "Flyway",
    migration: { command: run("tenantry.Migrations"), files: ["V1__accounts_and_transactions.sql", "V2__plan.sql"] },
  },
];

export const java: Language = {
  name: "Java",
  guide: "java",
  prepare,
  workDir: () => workDir,
  env: () => ({ CLASSPATH: `.:${classPath}` }),
  rows,
};
