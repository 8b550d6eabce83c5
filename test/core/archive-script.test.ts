/** What pg_restore prints, read by its bytes: at every cut, in every piece size, and everything it does not print. */
import { describe, expect, test } from "vitest";
import { joinArchive } from "../../core/archive-parts.ts";
import { readArchiveScript, type ScriptPart } from "../../core/archive-script.ts";
import type { BackupPart, BackupTable } from "../../core/backup-format.ts";

const head = `--
-- PostgreSQL database dump
--

\\restrict 9O1S5qqTTL0seflmOBPMQNG3JjmwA6Xt

-- Dumped from database version 15.18 (Debian 15.18-0+deb12u1)
-- Dumped by pg_dump version 15.18 (Debian 15.18-0+deb12u1)

SET statement_timeout = 0;
SET lock_timeout = 0;
SET client_encoding = 'UTF8';
SET standard_conforming_strings = on;
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET row_security = off;

`;
const tail = `--
-- PostgreSQL database dump complete
--

\\unrestrict 9O1S5qqTTL0seflmOBPMQNG3JjmwA6Xt

`;
const body = `SELECT pg_catalog.lo_create('16648');


--
-- Data for Name: a b;--; Type: TABLE DATA; Schema: My.Sc*hema; Owner: -
--

COPY "My.Sc*hema"."a
b;""--" (id, "COPY", "x"", ü") FROM stdin;
1\t\\\\.\tDROP TABLE a;
2\t\\N\t-- PostgreSQL database dump complete
\\.


COPY public.nocols  FROM stdin;


\\.


COPY public.none (a) FROM stdin;
\\.


SELECT pg_catalog.setval('"My.Sc*hema"."a
b;--_id''seq"', 9223372036854775807, false);


SELECT pg_catalog.setval('public.s', -3, true);


BEGIN;

SELECT pg_catalog.lo_open('16648', 131072);
SELECT pg_catalog.lowrite(0, '\\x00ff');
SELECT pg_catalog.lowrite(0, '\\x0a');
SELECT pg_catalog.lo_close(0);

SELECT pg_catalog.lo_open('16649', 131072);
SELECT pg_catalog.lo_close(0);

COMMIT;

`;
const whole = Buffer.from(head + body + tail);

async function* pieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}

/** Data joined, so that it does not matter how it was cut. */
async function read(bytes: Uint8Array, size = bytes.length): Promise<unknown[]> {
  const found: unknown[] = [];
  for await (const part of readArchiveScript(pieces(bytes, size))) {
    if (part.type !== "copy") found.push(part);
    else {
      const chunks: Uint8Array[] = [];
      for await (const chunk of part.data) chunks.push(chunk);
      found.push({ ...part, data: Buffer.concat(chunks).toString() });
    }
  }
  return found;
}

const refused = { kind: "backup_unusable" };

describe("script of an archive", () => {
  const expected = [
    {
      type: "copy",
      schema: "My.Sc*hema",
      name: 'a\nb;"--',
      columns: ["id", "COPY", 'x", ü'],
      data: "1\t\\\\.\tDROP TABLE a;\n2\t\\N\t-- PostgreSQL database dump complete\n",
    },
    { type: "copy", schema: "public", name: "nocols", columns: [], data: "\n\n" },
    { type: "copy", schema: "public", name: "none", columns: ["a"], data: "" },
    { type: "sequence", schema: "My.Sc*hema", name: "a\nb;--_id'seq", lastValue: "9223372036854775807", isCalled: false },
    { type: "sequence", schema: "public", name: "s", lastValue: "-3", isCalled: true },
    { type: "object data", oid: "16648", position: 0, hex: "00ff" },
    { type: "object data", oid: "16648", position: 2, hex: "0a" },
  ];

  test("is read the same in pieces of any size", async () => {
    for (let size = 1; size < 80; size++) expect(await read(whole, size), `pieces of ${size}`).toEqual(expected);
    expect(await read(whole)).toEqual(expected);
  });

  test("is refused wherever it is cut before its last line", async () => {
    const end = whole.length - Buffer.from(tail).length + tail.indexOf("complete\n") + "complete".length;
    for (let at = 0; at <= end; at++) await expect(read(whole.subarray(0, at), 97), `cut at ${at}`).rejects.toMatchObject(refused);
    expect(await read(whole.subarray(0, end + 1))).toEqual(expected);
  });

  test.each([
    "DROP TABLE public.none;",
    "\\! touch /tmp/x",
    "\\restrict a b",
    "\\connect other",
    "COPY public.none (a) FROM '/etc/passwd';",
    "COPY public.none (a) FROM PROGRAM 'id';",
    "COPY public.none (a) FROM stdin; DROP TABLE a;\n\\.",
    "COPY public.none (a) FROM stdin WHERE f(a);\n\\.",
    "COPY public.none (a)\nFROM stdin;\n\\.",
    "COPY public.none (a FROM stdin;\n\\.",
    "COPY public.none () FROM stdin;\n\\.",
    "COPY public.none (a,) FROM stdin;\n\\.",
    "COPY public.none (a b) FROM stdin;\n\\.",
    "COPY public.none ('a') FROM stdin;\n\\.",
    "COPY none (a) FROM stdin;\n\\.",
    "COPY other.public.none (a) FROM stdin;\n\\.",
    'COPY public."" (a) FROM stdin;\n\\.',
    "COPY public.None (a) FROM stdin;\n\\.",
    "COPY (SELECT f()) TO stdout;",
    "INSERT INTO public.none VALUES (1);",
    "SELECT f();",
    "SELECT pg_catalog.setval('public.s', f(), true);",
    "SELECT pg_catalog.setval('public.s', 1, true), f();",
    "SELECT pg_catalog.setval('public.s; DROP TABLE a', 1, true);",
    "SELECT pg_catalog.setval('s', 1, true);",
    "SELECT setval('public.s', 1, true);",
    "SELECT pg_catalog.set_config('search_path', 'evil', false);",
    "SELECT pg_catalog.set_config('session_replication_role', '', false);",
    "SET client_encoding = 'LATIN1';",
    "SET standard_conforming_strings = off;",
    "SET session_replication_role = replica;",
    "SET ROLE postgres;",
    "SET constructor = 0;",
    "SELECT pg_catalog.lo_create('0');",
    "SELECT pg_catalog.lo_create('99999999999');",
    "SELECT pg_catalog.lo_unlink('1');",
    "SELECT pg_catalog.lowrite(0, '\\x00');",
    "SELECT pg_catalog.lo_open('1', 131072);",
    "BEGIN;\nBEGIN;",
    "COMMIT;",
    "BEGIN;",
    "BEGIN;\nSELECT pg_catalog.lo_open('1', 262144);\nCOMMIT;",
    "BEGIN;\nSELECT pg_catalog.lo_open('1', 131072);\nCOMMIT;",
    "BEGIN;\nSELECT pg_catalog.lo_open('1', 131072);\nSELECT pg_catalog.lowrite(0, '\\x0');\nSELECT pg_catalog.lo_close(0);\nCOMMIT;",
    "BEGIN;\nSELECT pg_catalog.lo_open('1', 131072);\nSELECT pg_catalog.lowrite(0, f());\nSELECT pg_catalog.lo_close(0);\nCOMMIT;",
    "BEGIN;\nCOPY public.none (a) FROM stdin;\n\\.\nCOMMIT;",
    "ALTER LARGE OBJECT 1 OWNER TO postgres;",
    "/* */ SELECT 1;",
    "$$;",
    '"',
    "'",
    "; DROP TABLE a;",
    " ",
  ])("is refused with %j in it", async (statement) => {
    await expect(read(Buffer.from(`${head}${statement}\n${tail}`), 11)).rejects.toMatchObject(refused);
  });

  test("is refused for what comes behind its end, for other bytes than UTF-8, and for a statement without end", async () => {
    await expect(read(Buffer.from(`${head}${tail}SET lock_timeout = 0;\n`))).rejects.toMatchObject(refused);
    await expect(read(Buffer.concat([Buffer.from(head), Buffer.from([0x22, 0xff, 0x22, 0x0a]), Buffer.from(tail)]))).rejects.toMatchObject(refused);
    const endless = async function* () {
      yield Buffer.from(`${head}COPY public."`);
      for (let i = 0; i < 300; i++) yield Buffer.alloc(64 * 1024, i % 2 ? "a\n" : "a");
      throw new Error("it read on and on");
    };
    const reading = async () => {
      for await (const _ of readArchiveScript(endless()));
    };
    await expect(reading()).rejects.toMatchObject(refused);
  });
});

describe("archive and what describes it", () => {
  const table = (name: string, ...columns: string[]): BackupTable => ({
    kind: "table",
    schema: "public",
    name,
    columns: columns.map((each) => ({ name: each, type: "int" })),
  });
  const manifest: BackupPart = { type: "manifest", manifest: { tables: [], sequences: 0, objects: {} } };

  async function join(script: string, ...tables: BackupTable[]): Promise<string[]> {
    const archived = { toolVersion: 15, tables, extensionTables: [{ schema: "public", name: "ext" }] };
    const contents = async function* (): AsyncGenerator<BackupPart> {
      yield { type: "archived", archived };
      yield manifest;
    };
    const open = (): AsyncGenerator<ScriptPart, void, undefined> => readArchiveScript(pieces(Buffer.from(head + script + tail), 50));
    const seen: string[] = [];
    for await (const part of joinArchive(contents(), open)) {
      if (part.type !== "table") continue;
      let text = "";
      for await (const chunk of part.data) text += Buffer.from(chunk).toString();
      seen.push(`${part.table.kind} ${part.table.name}: ${text}`);
    }
    return seen;
  }

  const copy = (name: string, columns: string, data = "") => `COPY public.${name} (${columns}) FROM stdin;\n${data}\\.\n`;

  test("give each table once, objects as rows, and leave an extension's rows to the extension", async () => {
    const objects =
      "BEGIN;\nSELECT pg_catalog.lo_open('7', 131072);\nSELECT pg_catalog.lowrite(0, '\\x01');\nSELECT pg_catalog.lowrite(0, '\\x02');\nSELECT pg_catalog.lo_close(0);\nCOMMIT;\n";
    expect(await join(copy("a", "x", "1\n") + copy("ext", "z", "9\n") + copy("b", "y") + objects, table("a", "x"), table("b", "y"))).toEqual([
      "table a: 1\n",
      "table b: ",
      "large object contents tdb_large_object_pages: 7\t0\t\\\\x01\n7\t1\t\\\\x02\n",
    ]);
  });

  test.each([
    ["a table is missing", copy("a", "x"), [table("a", "x"), table("b", "y")]],
    ["there is one too many", copy("a", "x") + copy("b", "y"), [table("a", "x")]],
    ["there is one twice", copy("a", "x") + copy("a", "x"), [table("a", "x")]],
    ["columns differ", copy("a", "x"), [table("a", "x", "y")]],
    ["columns are in another order", copy("a", "y, x"), [table("a", "x", "y")]],
    ["a name cannot be one", copy(`"${"n".repeat(64)}"`, "x"), [table("a", "x")]],
  ] as const)("are refused where %s", async (_, script, tables) => {
    await expect(join(script, ...tables)).rejects.toMatchObject(refused);
  });
});
