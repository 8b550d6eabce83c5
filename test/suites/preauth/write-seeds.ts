/** Writes the hand-made part of corpus.txt: whole conversations of every kind a client can begin. `node test/suites/preauth/write-seeds.ts` */
import { readFile, writeFile } from "node:fs/promises";
import { cancelPacket, gssRequest, int32, message, sslRequest, startupPacket } from "../../engines/postgres/support/wire.ts";
import { projectId } from "../../engines/postgres/support/world.ts";
import { formatInput, type Input, nonceMark } from "./input.ts";

const hello = startupPacket({ user: projectId, database: "myapp__wayne" });
const sasl = (mechanism: string, first: string) => message("p", `${mechanism}\0`, int32(first.length), first);
const final = (binding: string) => message("p", `c=${binding},r=`, nonceMark, `,p=${Buffer.alloc(32, 5).toString("base64")}`);
const text = (line: string) => Buffer.from(line, "latin1");
const signature = Buffer.from("0d0a0d0a000d0a515549540a", "hex");
const v4 = Buffer.from("2111000cc0000201c0000202c3501538", "hex");
const v6 = Buffer.concat([Buffer.from("21210024", "hex"), Buffer.alloc(32, 0x20), Buffer.from("c3501538", "hex")]);
const direct = Buffer.from("16030100010100000000", "hex");

const seeds: Record<string, Input> = {
  clear: [hello, sasl("SCRAM-SHA-256", "n,,n=,r=abcdefgh"), final("biws")],
  clear_glued: [Buffer.concat([hello, sasl("SCRAM-SHA-256", "n,,n=,r=abcdefgh")])],
  newer_protocol: [
    startupPacket({ user: projectId, database: "myapp__wayne", "_pq_.x": "1" }, 196610),
    sasl("SCRAM-SHA-256", "y,,n=,r=abc"),
    final("eSws"),
  ],
  far_minor: [startupPacket({ user: projectId }, 0x3ffff)],
  protocol_2: [startupPacket({ user: projectId }, 131072)],
  unknown_project: [startupPacket({ user: "tdb_00000000", database: "x" }), sasl("SCRAM-SHA-256", "n,,n=,r=abc"), final("biws")],
  options: [
    startupPacket({ user: projectId, database: "myapp__wayne", options: "-c a=b --c-d=e\\ f", application_name: "x", replication: "database" }),
  ],
  no_user: [startupPacket({ database: "x" })],
  tls: [sslRequest, hello, sasl("SCRAM-SHA-256-PLUS", "p=tls-server-end-point,,n=,r=abcdefgh"), final("cD10bHMtc2VydmVyLWVuZC1wb2ludCws")],
  tls_downgrade: [sslRequest, hello, sasl("SCRAM-SHA-256", "y,,n=,r=abcdefgh"), final("eSws")],
  tls_early: [Buffer.concat([sslRequest, hello])],
  tls_twice: [sslRequest, sslRequest, hello],
  gss_tls: [gssRequest, sslRequest, hello],
  gss_only: [gssRequest, hello, sasl("SCRAM-SHA-256", "n,,n=,r=abc")],
  direct_tls: [direct, hello, sasl("SCRAM-SHA-256", "n,,n=,r=abc"), final("biws")],
  direct_broken: [Buffer.from("160301ee", "hex")],
  cancel_short: [cancelPacket(1, Buffer.alloc(4, 1))],
  cancel_long: [sslRequest, cancelPacket(7, Buffer.alloc(256, 2))],
  cancel_bad: [cancelPacket(1, Buffer.alloc(3))],
  http: [text("GET / HTTP/1.1\r\nHost: x\r\n\r\n")],
  mysql: [Buffer.from("200000018da60f000000000121000000", "hex")],
  mongo: [Buffer.from("3a0000000100000000000000dd07000000000000", "hex")],
  redis: [text("*2\r\n$4\r\nAUTH\r\n$3\r\nabc\r\n")],
  ssh: [text("SSH-2.0-x\r\n")],
  mechanism: [hello, sasl("PLAIN", "\0a\0b")],
  saslname: [hello, sasl("SCRAM-SHA-256", "n,a=b,n=x,m=y,r=z,s=")],
  proxy_v1: [text("PROXY TCP4 192.0.2.1 192.0.2.2 50000 5432\r\n"), hello, sasl("SCRAM-SHA-256", "n,,n=,r=abc"), final("biws")],
  proxy_v1_glued: [Buffer.concat([text("PROXY TCP6 2001:db8::1 ::2 50000 5432\r\n"), sslRequest]), hello],
  proxy_v1_unknown: [text("PROXY UNKNOWN and what not\r\n"), hello],
  proxy_v2: [Buffer.concat([signature, v4]), sslRequest, hello, sasl("SCRAM-SHA-256", "n,,n=,r=abc")],
  proxy_v2_ipv6: [Buffer.concat([signature, v6, hello])],
  proxy_v2_local: [Buffer.concat([signature, Buffer.from("20000000", "hex")]), hello],
  proxy_v2_unix: [Buffer.concat([signature, Buffer.from("213100d8", "hex"), Buffer.alloc(216)]), hello],
  proxy_v2_tlv: [Buffer.concat([signature, Buffer.from("21110013", "hex"), v4.subarray(4), Buffer.from("02000461626364", "hex")]), hello],
};

const path = new URL("./corpus.txt", import.meta.url);
const found = await readFile(path, "utf8").then(
  (now) => now.split("\n").filter((line) => line.startsWith("found_")),
  () => [],
);
const head = "# Inputs the fuzz before login starts from: written by write-seeds.ts, and those (found_…) that reached code no other did.";
await writeFile(path, `${[head, ...Object.entries(seeds).map(([name, input]) => formatInput(name, input)), ...found].join("\n")}\n`);
