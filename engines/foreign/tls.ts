/** TLS for a client whose protocol is not known yet, or not this port's. */
import { PipeReader } from "../../core/pipe-reader.ts";
import type { ForeignHost } from "./host.ts";

/** Most that is buffered of a client before it is known, or answered: a first line, a start-up packet, one argument of a Redis command. */
export const doorReaderBytes = 32 * 1024;

/** @returns undefined where there is no TLS to be had: nothing can be said that such a client would read. */
export async function startTls(reader: PipeReader, host: ForeignHost): Promise<PipeReader | undefined> {
  if (!host.tls) {
    host.note("wrong protocol", "a TLS client came while TLS is off");
    reader.pipe.end();
    return undefined;
  }
  return new PipeReader(await host.startTls(reader.detach()), doorReaderBytes, host.signal);
}
