/** One statement through one portal with a row limit: PostgreSQL stops producing rows once the limit is reached. */
import type { Connection, FieldDef, Submittable } from "pg";
import type { SqlField } from "../../core/sql.ts";
import { decodeValue, encodeValue } from "./values.ts";

export interface PortalAnswer {
  readonly columns: readonly SqlField[];
  readonly rows: readonly (readonly unknown[])[];
  readonly rowCount: number;
  readonly truncated: boolean;
  readonly command: string;
  readonly bytes: number;
}

/** What node-postgres's connection offers and its types leave out. */
interface WireConnection {
  parse(message: { name: string; text: string; types: readonly number[] }): void;
  bind(message: { portal: string; statement: string; values: readonly (string | null)[]; binary: boolean }): void;
  describe(message: { type: "P"; name: string }): void;
  execute(message: { portal: string; rows: number }): void;
  sync(): void;
  sendCopyFail(reason: string): void;
}

/** node-postgres hands it to its connection and calls the `handle…` methods as messages come. */
export class PortalQuery implements Submittable {
  readonly answer: Promise<PortalAnswer>;
  readonly #text: string;
  readonly #values: readonly (string | null)[];
  readonly #maxRows: number;
  readonly #rows: unknown[][] = [];
  #resolve: (answer: PortalAnswer) => void = () => {};
  #reject: (error: unknown) => void = () => {};
  #columns: SqlField[] = [];
  #command = "";
  #count = 0;
  #bytes = 0;
  #suspended = false;
  #broken: unknown;

  /** @param maxRows 0 = all of them. */
  constructor(text: string, values: readonly unknown[], maxRows: number) {
    this.#text = text;
    this.#values = values.map(encodeValue);
    this.#maxRows = maxRows;
    this.answer = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
  }

  submit(connection: Connection): void {
    const wire = connection as unknown as WireConnection;
    wire.parse({ name: "", text: this.#text, types: [] });
    wire.bind({ portal: "", statement: "", values: this.#values, binary: false });
    wire.describe({ type: "P", name: "" });
    // One more than wanted tells whether there were more. Sync closes the portal, whether it was read to its end or not.
    wire.execute({ portal: "", rows: this.#maxRows === 0 ? 0 : this.#maxRows + 1 });
    wire.sync();
  }

  handleRowDescription(message: { fields: FieldDef[] }): void {
    this.#columns = message.fields.map((field) => ({ name: field.name, typeOid: field.dataTypeID }));
  }

  handleDataRow(message: { fields: (string | null)[] }): void {
    if (this.#maxRows !== 0 && this.#rows.length >= this.#maxRows) {
      this.#suspended = true;
      return;
    }
    for (const text of message.fields) this.#bytes += text?.length ?? 0;
    try {
      this.#rows.push(message.fields.map((text, index) => decodeValue(text, this.#columns[index]?.typeOid ?? 0)));
    } catch (error) {
      this.#broken ??= error;
    }
  }

  handlePortalSuspended(): void {
    this.#suspended = true;
    // No command tag comes with it.
    this.#command = /^\s*([a-z]+)/i.exec(this.#text)?.[1]?.toUpperCase() ?? "";
  }

  handleCommandComplete(message: { text: string }): void {
    const [, command = message.text, count] = /^(.*?)(?: \d+)?(?: (\d+))?$/.exec(message.text) ?? [];
    this.#command = command;
    this.#count = count === undefined ? this.#rows.length : Number(count);
  }

  handleEmptyQuery(): void {}

  handleCopyInResponse(connection: Connection): void {
    const wire = connection as unknown as WireConnection;
    wire.sendCopyFail("COPY is not available here");
    // The Sync sent with the statement was ignored: the server was in copy mode by then.
    wire.sync();
  }

  handleCopyData(): void {}

  handleError(error: unknown): void {
    this.#reject(error);
  }

  handleReadyForQuery(): void {
    if (this.#broken !== undefined) this.#reject(this.#broken);
    const rowCount = this.#suspended ? this.#rows.length : this.#count;
    this.#resolve({ columns: this.#columns, rows: this.#rows, rowCount, truncated: this.#suspended, command: this.#command, bytes: this.#bytes });
  }
}
