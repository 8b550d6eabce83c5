/** Packets to and from one client: framing (uint24 length, uint8 number), their numbering, and waiting for a client that reads slowly. */
import type { BytePipe } from "../../core/byte-pipe.ts";
import { GatewayError } from "../../core/errors.ts";
import { PipeReader } from "../../core/pipe-reader.ts";

/** Longest payload that is read: more than any login needs, and more than any statement that is answered other than by a refusal. */
export const maxPayloadBytes = 64 * 1024;

export class Channel {
  readonly #signal: AbortSignal;
  #reader: PipeReader;
  /** TLS has the connection: nothing may be written. */
  #upgrading = false;
  /** The number of the next packet, whoever sends it. */
  #next = 0;

  constructor(pipe: BytePipe, signal: AbortSignal) {
    this.#signal = signal;
    this.#reader = new PipeReader(pipe, maxPayloadBytes + 4, signal);
  }

  /** What the client has sent; for a look at it before the greeting. */
  get reader(): PipeReader {
    return this.#reader;
  }

  get pipe(): BytePipe {
    return this.#reader.pipe;
  }

  /** The next packet of an exchange. @throws {GatewayError} protocol_violation when its number or length is wrong. */
  async read(): Promise<Uint8Array> {
    const [low = 0, middle = 0, high = 0, number] = await this.#reader.read(4);
    const length = low | (middle << 8) | (high << 16);
    if (number !== this.#next) throw new GatewayError("protocol_violation", "this is the MySQL port; the client sent something else");
    this.#next = (this.#next + 1) & 255;
    if (length > maxPayloadBytes) throw new GatewayError("protocol_violation", `a packet of ${length} bytes is longer than is read here`);
    return this.#reader.read(length);
  }

  /** The first packet of a new exchange. */
  readCommand(): Promise<Uint8Array> {
    this.#next = 0;
    return this.read();
  }

  /** Sends payloads as one write. Each must be shorter than 16 MiB. */
  async send(...payloads: readonly Uint8Array[]): Promise<void> {
    await this.#reader.send(this.#frame(payloads));
  }

  /** Sends a last payload and closes. Between two exchanges it is numbered as the answer to the command on its way. */
  end(payload: Uint8Array, betweenExchanges: boolean): void {
    if (this.#upgrading) return;
    if (betweenExchanges) this.#next = 1;
    this.pipe.end(this.#frame([payload]));
  }

  /** Goes on inside TLS. What has arrived behind the request is the client's first TLS record: clients do not wait for an answer. */
  async upgrade(startTls: (received: Uint8Array) => Promise<BytePipe>): Promise<void> {
    this.#upgrading = true;
    const pipe = await startTls(this.#reader.detach());
    this.#upgrading = false;
    this.#reader = new PipeReader(pipe, maxPayloadBytes + 4, this.#signal);
  }

  #frame(payloads: readonly Uint8Array[]): Uint8Array {
    const out = new Uint8Array(payloads.reduce((sum, payload) => sum + 4 + payload.length, 0));
    let at = 0;
    for (const { length } of payloads) {
      out.set([length & 255, (length >>> 8) & 255, length >>> 16, this.#next], at);
      this.#next = (this.#next + 1) & 255;
      at += 4 + length;
    }
    at = 0;
    for (const payload of payloads) {
      out.set(payload, at + 4);
      at += 4 + payload.length;
    }
    return out;
  }
}
