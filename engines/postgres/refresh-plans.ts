/**
 * After a deployment: prepared statements whose result changed are prepared again, so that the next execution does not fail with
 * "cached plan must not change result type". Asked of a backend at rest, while its client waits.
 */
import { GatewayError } from "../../core/errors.ts";
import { PipeReader } from "../../core/pipe-reader.ts";
import { decodeErrorFields, decodeParameterStatus } from "./backend.ts";
import { type BackendFrame, type PostgresBackend, readMessage } from "./backend-session.ts";
import { concatBytes, MessageWriter, utf8 } from "./bytes.ts";
import { encodeQuery, encodeSync } from "./frontend.ts";
import { backend as B, frontend as F } from "./message-types.ts";

/** Longer answers than a list of statements has are not expected of these questions. */
const maxAnswerBytes = 16 * 1024 * 1024;

const listSql = `SELECT name, statement, from_sql,
  (SELECT pg_catalog.array_to_string(pg_catalog.array_agg(t.oid::pg_catalog.oid::pg_catalog.text ORDER BY t.at), ',')
     FROM pg_catalog.unnest(parameter_types::pg_catalog.oid[]) WITH ORDINALITY AS t (oid, at)) AS types
  FROM pg_catalog.pg_prepared_statements`;

/** Texts are in the client's encoding, and stay as they are. */
interface Prepared {
  readonly name: Uint8Array;
  readonly statement: Uint8Array;
  /** Made by PREPARE; the text is the whole of that. */
  readonly isSql: boolean;
  readonly types: readonly number[];
}

export interface RefreshOptions {
  /** The client executes without asking for the description again: rows of another shape would be misread. */
  readonly trustsDescriptions: boolean;
  /** Notices, notifications and parameter reports that came between. */
  readonly pass: (frame: Uint8Array) => void;
  readonly signal: AbortSignal;
}

/** Takes the backend's pipe over until it resolves. @throws {GatewayError} terminated when the client can only start anew */
export async function refreshPlans(backend: PostgresBackend, options: RefreshOptions): Promise<void> {
  const reader = new PipeReader(backend.pipe, maxAnswerBytes, options.signal);
  const ask = (...messages: readonly Uint8Array[]) => {
    backend.pipe.write(concatBytes(...messages));
    return readAnswer(reader, backend, options.pass);
  };
  try {
    for (const prepared of parseList(await ask(encodeQuery(listSql)))) {
      const described = await ask(encodeNamed(F.Describe, prepared.name), encodeSync());
      if (!described.some(isStale)) continue;
      if (options.trustsDescriptions)
        throw new GatewayError("terminated", "terminating connection: the schema changed under its prepared statements");
      const again = prepared.isSql
        ? [encodeNamed(F.Close, prepared.name), encodeSync(), encodeText(F.Query, prepared.statement)]
        : [encodeNamed(F.Close, prepared.name), encodePrepare(prepared), encodeSync()];
      await ask(...again);
      if (prepared.isSql) await readAnswer(reader, backend, options.pass);
    }
  } finally {
    if (backend.pipe.sink === reader) reader.detach();
  }
}

/** The frames up to the next ReadyForQuery. */
async function readAnswer(reader: PipeReader, backend: PostgresBackend, pass: (frame: Uint8Array) => void): Promise<BackendFrame[]> {
  const frames: BackendFrame[] = [];
  for (;;) {
    const frame = await readMessage(reader, maxAnswerBytes);
    if (frame.type === B.ReadyForQuery) return frames;
    if (frame.type === B.ParameterStatus) backend.parameters.set(...decodeParameterStatus(frame.body));
    if (frame.type === B.ParameterStatus || frame.type === B.NoticeResponse || frame.type === B.NotificationResponse) pass(frame.frame);
    else frames.push({ ...frame, body: frame.body.slice() });
  }
}

/** A prepared statement whose result changed cannot even be described: 0A000, as when it is executed. */
function isStale({ type, body }: BackendFrame): boolean {
  return type === B.ErrorResponse && decodeErrorFields(body).get("C") === "0A000";
}

function parseList(frames: readonly BackendFrame[]): Prepared[] {
  return frames.flatMap(({ type, body }) => {
    if (type !== B.DataRow) return [];
    const [name, statement, fromSql, types] = readTexts(body) as [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
    return [{ name, statement, isSql: utf8(fromSql) === "t", types: types.length === 0 ? [] : utf8(types).split(",").map(Number) }];
  });
}

/** DataRow: uint16 columns, then each its int32 length, −1 for NULL, and its text. */
function readTexts(body: Uint8Array): Uint8Array[] {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  const texts: Uint8Array[] = [];
  for (let at = 2, left = view.getUint16(0); left > 0; left--) {
    const length = view.getInt32(at);
    at += 4;
    const end = at + Math.max(0, length);
    texts.push(body.subarray(at, end));
    at = end;
  }
  return texts;
}

/** Describe or Close of a prepared statement. */
function encodeNamed(type: number, name: Uint8Array): Uint8Array {
  return encodeText(type, concatBytes(Uint8Array.of(0x53), name));
}

function encodeText(type: number, text: Uint8Array): Uint8Array {
  return new MessageWriter(text.length + 6).begin(type).bytes(text).uint8(0).end().finish();
}

function encodePrepare({ name, statement, types }: Prepared): Uint8Array {
  const writer = new MessageWriter(name.length + statement.length + types.length * 4 + 16).begin(F.Parse);
  writer.bytes(name).uint8(0).bytes(statement).uint8(0).uint16(types.length);
  for (const oid of types) writer.uint32(oid);
  return writer.end().finish();
}
