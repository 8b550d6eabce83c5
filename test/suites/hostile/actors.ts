/** Clients and servers that do not keep to the protocol, driven by a seed: what the fuzz runner plays against the data path. */
import type { ScriptedClient } from "../../engines/postgres/support/client.ts";
import type { FakeConnection } from "../../engines/postgres/support/fake-server.ts";
import type { Prng } from "../../engines/postgres/support/prng.ts";
import {
  cancelPacket,
  gssRequest,
  header,
  int16,
  int32,
  message,
  reply,
  settle,
  sslRequest,
  startupPacket,
} from "../../engines/postgres/support/wire.ts";
import { projectId, type World } from "../../engines/postgres/support/world.ts";

const lengths = [0, 1, 3, 4, 5, 7, 8, 9, 100, 1028, 1029, 10_000, 10_001, 65_535, 0x3fffffff, 0x40000000, 0x7fffffff, 0x80000000, 0xffffffff];
const statements = [
  "select 1",
  "begin",
  "commit",
  "create table x()",
  "create schema x",
  "copy t from stdin",
  "copy t to stdout",
  "insert into t values (1) returning a",
  "select * from t for update",
  "listen a",
  "",
  "'",
  "/*",
];

let marks = 0;

/** No two the same, so that one sent on twice is found. */
function statement(random: Prng): string {
  const text = random.pick(statements);
  return text === "" ? text : `${text} /*once ${++marks}*/`;
}

/** Bytes of the opening: mostly right, sometimes anything. */
function openingBytes(random: Prng): Buffer {
  switch (random.int(9)) {
    case 0:
      return sslRequest;
    case 1:
      return gssRequest;
    case 2:
      return cancelPacket(random.int(0xffffffff), random.bytes(random.pick([0, 3, 4, 32, 256, 257])));
    case 3:
      return Buffer.concat([int32(random.pick(lengths)), random.bytes(random.int(40))]);
    case 4:
      return startupPacket({ user: random.pick([projectId, "tdb_00000000", "x\u0001"]), database: "myapp__wayne", options: "-c a=b \\" });
    case 5:
      return message("", int32(random.pick([196608, 196609, 196610, 131072, 80877103, 0])), random.bytes(random.int(60)));
    case 6:
      return message("p", random.pick([Buffer.from("SCRAM-SHA-256\0"), random.bytes(10)]), int32(random.pick(lengths)), random.bytes(random.int(60)));
    case 7:
      return message("p", `c=${random.pick(["biws", "eSws", "%"])},r=${"a".repeat(random.int(30))},p=${"A".repeat(random.int(60))}`);
    default:
      return Buffer.from(random.bytes(random.int(200)));
  }
}

/** Bytes of a running session. */
function sessionBytes(random: Prng): Buffer {
  const name = () => `${random.pick(["", "a", "b"])}\0`;
  switch (random.int(14)) {
    case 0:
    case 1:
      return message("Q", `${statement(random)}${random.pick(["\0", "\0", "\0", "", "\0x"])}`);
    case 2:
      return message("P", name(), `${random.pick(statements)}\0`, int16(0));
    case 3:
      return message("B", name(), name(), int16(0), int16(0), int16(0));
    case 4:
      return message("E", name(), int32(random.int(3)));
    case 5:
    case 6:
      return message("S");
    case 7:
      return message(random.pick(["H", "c", "S", "X"]));
    case 8:
      return message(random.pick([..."dfDCF"]), random.bytes(random.int(50)));
    case 9:
      return Buffer.concat([header(String.fromCharCode(random.int(256)), random.pick(lengths)), random.bytes(random.int(20))]);
    case 10:
      return message("Q", `select '${"x".repeat(70_000)}'\0`);
    case 11:
      return Buffer.from(random.bytes(random.int(30)));
    default:
      return message(random.pick([..."QPBE"]), random.bytes(random.int(30)));
  }
}

/** What a server says, mostly in order, sometimes anything. */
function serverBytes(random: Prng): Buffer {
  switch (random.int(12)) {
    case 0:
      return Buffer.concat([
        reply.rowDescription(),
        reply.row("1"),
        reply.row("2"),
        reply.complete("SELECT 2"),
        reply.ready(random.pick(["I", "T", "E"])),
      ]);
    case 1:
      return reply.error(random.pick(["42501", "57014", "0A000", "22012"]), "text", random.pick(["ERROR", "ERROR", "FATAL"]));
    case 2:
      return reply.ready(random.pick(["I", "T", "E", "?"]));
    case 3:
      return random.pick([reply.copyIn, reply.copyOut(), reply.copyOut(true), reply.copyDone, message("W")]);
    case 4:
      return reply.copyData(random.bytes(random.int(100)));
    case 5:
      return random.pick([reply.suspended, reply.empty, reply.parseComplete, reply.bindComplete, reply.noData]);
    case 6:
      return Buffer.concat([reply.notice("n"), reply.notification("a", "b"), reply.parameter("a", "b")]);
    case 7:
      return Buffer.concat([header(String.fromCharCode(random.int(256)), random.pick(lengths)), random.bytes(random.int(20))]);
    case 8:
      return Buffer.from(random.bytes(random.int(30)));
    case 9:
      return message(random.pick([..."ZESCGH"]), random.bytes(random.int(20)));
    default:
      return Buffer.concat([reply.complete("SELECT 1"), reply.ready()]);
  }
}

/** Plays one seed: a client at a random stage, a server that may misbehave too. @returns the client, gone. */
export async function playSeed(world: World, random: Prng): Promise<ScriptedClient> {
  const { server } = world;
  server.holdCancels = random.chance(0.1);
  server.loginAnswer = random.chance(0.1) ? () => [serverBytes(random)] : undefined;
  server.answer = random.chance(0.3) ? () => (random.chance(0.3) ? [serverBytes(random)] : undefined) : () => undefined;
  world.set("myapp__wayne", {
    allow_copy: random.chance(0.5),
    max_rows_per_query: random.pick([0, 1, 5]),
    query_timeout_ms: random.pick([0, 1, 1000]),
    max_connections: random.pick([1, 100]),
  });
  world.routes.announce({ projectId });
  const stage = random.pick(["opening", "startup", "session", "session", "session"]);
  const client = world.connect();
  if (stage === "startup") await client.say(startupPacket({ user: projectId, database: "myapp__wayne" }, random.pick([196608, 196610])));
  if (stage === "session")
    await client.login({ user: projectId, database: "myapp__wayne", password: random.pick(["tenant-pw", "workspace-pw", "x"]) });
  const backend: FakeConnection | undefined = server.open.at(-1);
  if (backend) backend.isSilent = random.chance(0.3);
  for (let step = random.int(12); step >= 0; step--) {
    const bytes = stage === "session" ? sessionBytes(random) : openingBytes(random);
    for (const piece of random.chance(0.3) ? random.cut(bytes.subarray(0, 2000)) : [bytes]) client.send(piece);
    if (backend && random.chance(0.3)) for (const piece of random.cut(serverBytes(random))) backend.pipe.write(piece);
    if (random.chance(0.05)) backend?.hangUp();
    if (random.chance(0.05)) client.pipe[random.pick(["pause", "resume"] as const)]();
    if (random.chance(0.1)) world.clock.advance(random.pick([1, 60, 2000, 6000]));
    if (random.chance(0.05)) server.finishCancels();
    if (random.chance(0.5)) await settle();
  }
  client.pipe.resume();
  if (random.chance(0.5)) client.pipe.end();
  else client.pipe.destroy();
  await settle();
  server.finishCancels();
  server.answer = () => undefined;
  client.pipe.destroy();
  await settle();
  if (world.running > 0) {
    world.clock.advance(100_000); // login timeout, cancel grace
    await settle();
  }
  return client;
}
