/** Messages in and out over one pipe, with limits on what is kept of a client's. */
import type { Document } from "bson";
import type { PipeReader } from "../../core/pipe-reader.ts";
import { skimMessage } from "./skim.ts";
import { decodeBody, decodeHeader, encodeReply, headerBytes, type Request } from "./wire.ts";

/** Longest message of a client that has not logged in, and longest one kept of any. The reader must be allowed to buffer as much. */
export const maxKeptBytes = 16 * 1024;
/** MongoDB's own limit, which hello tells. */
export const maxMessageBytes = 48_000_000;

export class Channel {
  readonly #reader: PipeReader;
  #replies = 0;

  constructor(reader: PipeReader) {
    this.#reader = reader;
  }

  /** `isProven`: the client has logged in and may send long messages. @throws {GatewayError} protocol_violation; PipeClosedError. */
  async receive(isProven: boolean): Promise<Request> {
    const header = decodeHeader(await this.#reader.read(headerBytes), isProven ? maxMessageBytes : maxKeptBytes);
    if (header.length > maxKeptBytes) return await skimMessage(header, this.#reader);
    return decodeBody(header, await this.#reader.read(header.length - headerBytes));
  }

  /** Sends the answer and waits until the client keeps up, so that answers do not pile up for one that does not read. */
  async send(request: Request, document: Document): Promise<void> {
    if (request.wantsReply) await this.#reader.send(encodeReply(request, ++this.#replies, document));
  }

  /** Sends the answer, if any is wanted, as the last thing. */
  end(request: Request, document: Document): void {
    this.#reader.pipe.end(request.wantsReply ? encodeReply(request, ++this.#replies, document) : undefined);
  }
}
