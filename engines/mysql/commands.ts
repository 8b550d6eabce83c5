/** A client that named no database: start-up questions are answered, everything that needs a database is told where to go. */
import type { Visit } from "../../core/doorman.ts";
import { GatewayError } from "../../core/errors.ts";
import type { Identity } from "../../core/identity.ts";
import { utf8 } from "./bytes.ts";
import type { Channel } from "./channel.ts";
import { serverVersion } from "./handshake.ts";
import { describeRefusal } from "./refusal.ts";
import { type ErrorReply, encodeError, encodeResultSet, ok, type Value } from "./replies.ts";
import { type Expression, matchesLike, readStatement, type Statement } from "./statement.ts";
import { findVariable, listVariables } from "./variables.ts";

/** @see https://dev.mysql.com/doc/dev/mysql-server/latest/my__command_8h.html */
const command = {
  quit: 0x01,
  useDatabase: 0x02,
  query: 0x03,
  statistics: 0x09,
  ping: 0x0e,
  prepare: 0x16,
  sendLongData: 0x18,
  close: 0x19,
  reset: 0x1f,
};

export interface Guest {
  readonly identity: Identity;
  readonly threadId: number;
}

/** Answers until the client quits. @throws {GatewayError} to be told to the client, which is then sent away. */
export async function answerCommands(channel: Channel, visit: Visit, guest: Guest): Promise<void> {
  await channel.send(ok);
  for (;;) {
    const packet = await channel.readCommand();
    const body = utf8(packet.subarray(1));
    switch (packet[0]) {
      case command.quit:
        return;
      case command.ping:
      case command.reset:
        await channel.send(ok);
        break;
      case command.sendLongData:
      case command.close:
        break; // has no answer
      case command.statistics:
        await channel.send(new TextEncoder().encode("Tenantry gateway"));
        break;
      case command.useDatabase:
        await channel.send(encodeError(await refuseDatabase(visit, guest, body)));
        break;
      case command.query:
        await channel.send(...(await answerQuery(visit, guest, readStatement(body))));
        break;
      case command.prepare:
        await channel.send(encodeError(await refuseQuery(visit, guest)));
        break;
      default:
        await channel.send(encodeError({ code: 1047, state: "08S01", message: "this command is not supported by the gateway" }));
    }
  }
}

async function answerQuery(visit: Visit, guest: Guest, statement: Statement): Promise<Uint8Array[]> {
  switch (statement.type) {
    case "select":
      return answerSelect(guest, statement);
    case "use":
      return [encodeError(await refuseDatabase(visit, guest, statement.database))];
    case "show":
      return await answerShow(visit, guest, statement);
    case "accepted":
      return [ok];
    case "empty":
      return [encodeError({ code: 1065, state: "42000", message: "Query was empty" })];
    case "other":
      return [encodeError(await refuseQuery(visit, guest))];
  }
}

function answerSelect(guest: Guest, { columns }: Extract<Statement, { type: "select" }>): Uint8Array[] {
  const row: Value[] = [];
  for (const { expression } of columns) {
    const value = evaluate(expression, guest);
    if (value === undefined) {
      const name = expression.type === "variable" ? expression.name : "";
      return [encodeError({ code: 1193, state: "HY000", message: `Unknown system variable '${name}'` })];
    }
    row.push(value);
  }
  return encodeResultSet({ columns: columns.map(({ name }) => name), rows: [row] });
}

function evaluate(expression: Expression, { identity, threadId }: Guest): Value | undefined {
  if (expression.type === "literal") return expression.value;
  if (expression.type === "variable") return findVariable(expression.name);
  switch (expression.name) {
    case "version":
      return serverVersion;
    case "database":
      return null;
    case "user":
      return `${identity.projectId}@%`;
    case "connection_id":
      return threadId;
  }
}

async function answerShow(
  visit: Visit,
  { identity }: Guest,
  { what, like, column = "Database" }: Extract<Statement, { type: "show" }>,
): Promise<Uint8Array[]> {
  const matches = (name: string) => like === undefined || matchesLike(like, name);
  if (what === "databases") {
    const asked = await settle(visit.listDatabases(identity));
    if (asked.error) return [encodeError(asked.error)];
    return encodeResultSet({ columns: [column], rows: asked.value.filter(matches).map((name) => [name]) });
  }
  return encodeResultSet({ columns: ["Variable_name", "Value"], rows: what === "variables" ? listVariables(matches) : [] });
}

/** What COM_INIT_DB and USE are told; the client may stay and name another one. */
async function refuseDatabase(visit: Visit, { identity }: Guest, database: string): Promise<ErrorReply> {
  const asked = await settle(visit.findVerdict(identity, database));
  return asked.error ?? describeRefusal(asked.value);
}

/** A client that reaches one database only must have meant that one. */
async function refuseQuery(visit: Visit, guest: Guest): Promise<ErrorReply> {
  const asked = await settle(visit.listDatabases(guest.identity));
  if (asked.error) return asked.error;
  const [only, ...others] = asked.value;
  if (only !== undefined && others.length === 0) return await refuseDatabase(visit, guest, only);
  const message = "No database selected. This gateway does not run MySQL queries: name a database in the connection to be told where it is";
  return { code: 1046, state: "3D000", message };
}

/** A store that is away costs the client its answer, not its connection. */
async function settle<T>(work: Promise<T>): Promise<{ value: T; error?: undefined } | { error: ErrorReply }> {
  try {
    return { value: await work };
  } catch (error) {
    if (error instanceof GatewayError) return { error: describeRefusal(error) };
    throw error;
  }
}
