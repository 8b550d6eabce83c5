/** A client of one protocol on the port of another: answered in its own words, with the right port in them. */
import type { PipeReader } from "../../core/pipe-reader.ts";
import type { Protocol } from "../detect.ts";
import { refuseRedis } from "../redis/conversation.ts";
import { detectFirst } from "./first-bytes.ts";
import { type ForeignHost, webText, wrongPortText } from "./host.ts";
import { encodeBadRequest } from "./http.ts";
import { refuseMongo } from "./mongodb.ts";
import { encodeMysqlError, mysqlBadHandshake } from "./mysql.ts";
import { refusePostgres } from "./postgres.ts";
import { startTls } from "./tls.ts";

/**
 * Tells the client, whose bytes are still in the reader, that it came to the wrong port. Resolves when it has been told and the connection ended.
 * @throws {PipeClosedError} when it leaves first; the signal's reason.
 */
export async function answerForeign(reader: PipeReader, protocol: Protocol, host: ForeignHost): Promise<void> {
  if (protocol === "TLS") {
    const encrypted = await startTls(reader, host);
    return encrypted && answerForeign(encrypted, await detectFirst(encrypted), host);
  }
  const within = reader.pipe.tls ? " inside TLS" : "";
  host.note("wrong protocol", `${descriptions[protocol]}${within} came to the ${host.engine} port`);
  switch (protocol) {
    case "PostgreSQL":
      return refusePostgres(reader, host, wrongPortText(host, protocol));
    case "MongoDB":
      return refuseMongo(reader, wrongPortText(host, protocol));
    case "Redis":
      return refuseRedis(reader, wrongPortText(host, protocol));
    case "MySQL":
      return reader.pipe.end(encodeMysqlError(2, mysqlBadHandshake, wrongPortText(host, protocol)));
    case "HTTP":
      return reader.pipe.end(encodeBadRequest(webText(host)));
    default:
      return reader.pipe.end();
  }
}

const descriptions: Record<Exclude<Protocol, "TLS">, string> = {
  PostgreSQL: "a PostgreSQL client",
  MySQL: "a MySQL client",
  MongoDB: "a MongoDB client",
  Redis: "a Redis client",
  HTTP: "an HTTP client",
  SSH: "an SSH client",
  PROXY: "a PROXY protocol header, which is not expected from this address,",
  unknown: "a client of an unknown protocol",
};
