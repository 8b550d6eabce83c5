/** A PostgreSQL client on another port: taken through negotiation and TLS up to its start-up packet, so that it shows what it is told. */
import { GatewayError } from "../../core/errors.ts";
import { PipeReader } from "../../core/pipe-reader.ts";
import { encodeRefusal } from "../postgres/refusal.ts";
import { readPackets } from "../postgres/startup.ts";
import type { ForeignHost } from "./host.ts";
import { doorReaderBytes } from "./tls.ts";

/** FATAL 08P01 in answer to a start-up packet, inside TLS where the client asked for it; a cancel request gets no answer, as ever. */
export async function refusePostgres(reader: PipeReader, host: ForeignHost, text: string): Promise<void> {
  let { pipe } = reader;
  const upgrade = async (before: PipeReader) => {
    pipe = await host.startTls(before.detach());
    return new PipeReader(pipe, doorReaderBytes, host.signal);
  };
  try {
    const { request } = await readPackets(reader, host.tls && upgrade);
    if (request.type === "cancel") return pipe.end();
  } catch (error) {
    if (!(error instanceof GatewayError && error.kind === "protocol_violation")) throw error;
    return pipe.end(encodeRefusal(error));
  }
  pipe.end(encodeRefusal(new GatewayError("protocol_violation", text)));
}
