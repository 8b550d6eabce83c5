/** COPY in both directions over a node-postgres connection, never faster than its slower side. */
import { pipeline } from "node:stream/promises";
import type pg from "pg";
import copyStreams from "pg-copy-streams";

const bufferBytes = 256 * 1024;

export async function* copyOut(client: pg.Client, text: string): AsyncGenerator<Uint8Array, void, undefined> {
  const copy = copyStreams.to(text, { highWaterMark: bufferBytes });
  const submit = copy.submit.bind(copy);
  copy.submit = (connection) => {
    submit(connection);
    // It pauses the socket, to read by 'readable'. On Deno a socket that is paused does not read for those either; on the others this does nothing.
    client.connection.stream.resume();
  };
  const stream = client.query(copy);
  let ended = false;
  try {
    for await (const chunk of stream) yield chunk as Uint8Array;
    ended = true;
  } catch (error) {
    ended = true;
    throw error;
  } finally {
    // The server goes on sending what nobody reads: there is no way back to a usable connection.
    if (!ended) client.connection.stream.destroy();
  }
}

export async function copyIn(client: pg.Client, text: string, data: AsyncIterable<Uint8Array>): Promise<number> {
  const stream = client.query(copyStreams.from(text, { highWaterMark: bufferBytes }));
  await pipeline(data, stream);
  return stream.rowCount;
}
