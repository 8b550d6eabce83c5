/** How a listener whose clients speak first opens the door: TLS from the first byte or not, its own clients in, others answered. */
import type { BytePipe } from "../../core/byte-pipe.ts";
import type { Clock } from "../../core/clock.ts";
import { GatewayError } from "../../core/errors.ts";
import { PipeReader } from "../../core/pipe-reader.ts";
import { answerForeign } from "./answer.ts";
import { detectFirst, waitForFirstBytes } from "./first-bytes.ts";
import { type ForeignHost, wrongPortText } from "./host.ts";
import { encodeMysqlError, mysqlBadHandshake } from "./mysql.ts";
import { doorReaderBytes, startTls } from "./tls.ts";

export interface GreetingHost extends ForeignHost {
  readonly greetingDelayMs: number;
  readonly clock: Clock;
}

/**
 * For protocols in which the client speaks first.
 * @returns the reader, encrypted or not, at the first byte of this engine's protocol; undefined when somebody else's client has been answered.
 * @throws {PipeClosedError} when the client leaves; the signal's reason.
 */
export async function openDoor(socket: BytePipe, host: ForeignHost): Promise<PipeReader | undefined> {
  let reader = new PipeReader(socket, doorReaderBytes, host.signal);
  if (!(await isSpeaking(reader, host))) return undefined;
  let protocol = await detectFirst(reader);
  if (protocol === "TLS") {
    const encrypted = await startTls(reader, host);
    if (!encrypted) return undefined;
    reader = encrypted;
    protocol = await detectFirst(reader);
  }
  if (protocol === host.engine) return reader;
  await answerForeign(reader, protocol, host);
  return undefined;
}

/**
 * For MySQL, where the server speaks first: a client of another protocol is given `greetingDelayMs` to show itself, and answered.
 * @returns whether it was; if not, the greeting is due, on the same reader.
 */
export async function answerEarlyClient(reader: PipeReader, host: GreetingHost): Promise<boolean> {
  if (!(await waitForFirstBytes(reader, host.greetingDelayMs, host.clock, host.signal))) return false;
  const protocol = await detectFirst(reader);
  if (protocol === host.engine) return false;
  await answerForeign(reader, protocol, host);
  return true;
}

/**
 * A client that says nothing until the login timeout most likely waits for the server to speak, as MySQL's does: it is told so in MySQL's words.
 * Not earlier: a client of this port that was merely slow would choke on them.
 */
async function isSpeaking(reader: PipeReader, host: ForeignHost): Promise<boolean> {
  try {
    await reader.peek(1);
    return true;
  } catch (error) {
    if (!(error instanceof GatewayError && error.kind === "login_timeout")) throw error;
    host.note(
      "silent client",
      `closed at the login timeout: it sent nothing, as a MySQL client does that waits for the ${host.engine} port to greet it`,
    );
    reader.pipe.end(encodeMysqlError(0, mysqlBadHandshake, wrongPortText(host, "MySQL")));
    return false;
  }
}
