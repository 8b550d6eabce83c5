/** What the server answers commands with: OK, ERR, EOF and text result sets. */
import { PayloadWriter } from "./bytes.ts";
import { statusAutocommit, utf8mb4 } from "./handshake.ts";

/** No rows touched, no id made, autocommit, no warnings. */
export const ok: Uint8Array = Uint8Array.of(0x00, 0, 0, statusAutocommit, 0, 0, 0);
const eof: Uint8Array = Uint8Array.of(0xfe, 0, 0, statusAutocommit, 0);

export interface ErrorReply {
  readonly code: number;
  /** SQLSTATE, five characters. */
  readonly state: string;
  readonly message: string;
}

export function encodeError({ code, state, message }: ErrorReply): Uint8Array {
  return new PayloadWriter().uint8(0xff).uint16(code).text(`#${state}${message}`).finish();
}

/** Numbers are sent as BIGINT, texts as VARCHAR. */
export type Value = string | number | null;

export interface ResultSet {
  readonly columns: readonly string[];
  readonly rows: readonly (readonly Value[])[];
}

/** Column count · definitions · EOF · rows · EOF, a packet each. */
export function encodeResultSet({ columns, rows }: ResultSet): Uint8Array[] {
  const count = new PayloadWriter().lenenc(columns.length).finish();
  const definitions = columns.map((name, at) => encodeColumn(name, typeof rows[0]?.[at] === "number"));
  return [count, ...definitions, eof, ...rows.map(encodeRow), eof];
}

const bigint = { type: 0x08, charset: 63, length: 20, flags: 0x80 } as const;
const varchar = { type: 0xfd, charset: utf8mb4, length: 1024, flags: 0 } as const;

/** ColumnDefinition41 of an expression: without schema and table. */
function encodeColumn(name: string, isNumber: boolean): Uint8Array {
  const { type, charset, length, flags } = isNumber ? bigint : varchar;
  return new PayloadWriter()
    .lenencText("def")
    .zeros(3)
    .lenencText(name)
    .zeros(1)
    .uint8(0x0c)
    .uint16(charset)
    .uint32(length)
    .uint8(type)
    .uint16(flags)
    .uint8(0)
    .zeros(2)
    .finish();
}

function encodeRow(values: readonly Value[]): Uint8Array {
  const writer = new PayloadWriter();
  for (const value of values) {
    if (value === null) writer.uint8(0xfb);
    else writer.lenencText(String(value));
  }
  return writer.finish();
}
