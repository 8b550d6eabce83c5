/** A MongoDB client on another port: hello is answered, since drivers show no error there, and everything else with the refusal. */
import type { PipeReader } from "../../core/pipe-reader.ts";
import { describeServer } from "../mongodb/describe.ts";
import { failure } from "../mongodb/replies.ts";
import { decodeBody, decodeHeader, encodeReply, headerBytes, type Request } from "../mongodb/wire.ts";

/** Nothing longer is sent before a login, which never succeeds here. */
const maxMessageBytes = 16 * 1024;
const hellos: readonly string[] = ["hello", "isMaster", "ismaster"];

/**
 * Answers until the client leaves.
 * @throws {PipeClosedError} when it does; the signal's reason; {GatewayError} protocol_violation for what is no message.
 */
export async function refuseMongo(reader: PipeReader, text: string): Promise<never> {
  for (let replies = 1; ; replies++) {
    const request = await readRequest(reader);
    if (!request.wantsReply) continue;
    await reader.send(encodeReply(request, replies, hellos.includes(request.name) ? sayHello(request) : failure(8000, text)));
  }
}

async function readRequest(reader: PipeReader): Promise<Request> {
  const header = decodeHeader(await reader.read(headerBytes), maxMessageBytes);
  return decodeBody(header, await reader.read(header.length - headerBytes));
}

/** Credentials are asked for in the hello; the mechanism is named, for a driver that finds none would not come to the refusal. */
function sayHello({ name, body }: Request) {
  const reply = describeServer(1, new Date(), name !== "hello");
  if (body.helloOk === true) reply.helloOk = true;
  if (body.saslSupportedMechs !== undefined) reply.saslSupportedMechs = ["SCRAM-SHA-256"];
  return reply;
}
