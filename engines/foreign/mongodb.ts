/** A MongoDB client on another port: hello is answered, since drivers show no error there, and everything else with the refusal. */
import type { PipeReader } from "../../core/pipe-reader.ts";
import { Channel } from "../mongodb/channel.ts";
import { describeServer } from "../mongodb/describe.ts";
import { failure } from "../mongodb/replies.ts";
import type { Request } from "../mongodb/wire.ts";

const hellos: readonly string[] = ["hello", "isMaster", "ismaster"];

/**
 * Answers until the client leaves.
 * @throws {PipeClosedError} when it does; the signal's reason; {GatewayError} protocol_violation for what is no message.
 */
export async function refuseMongo(reader: PipeReader, text: string): Promise<never> {
  const channel = new Channel(reader);
  for (;;) {
    const request = await channel.receive(false);
    await channel.send(request, hellos.includes(request.name) ? sayHello(request) : failure(8000, text));
  }
}

/** The mechanism is named where it is asked for: a driver that finds none would not come as far as the refusal. */
function sayHello({ name, body }: Request) {
  const reply = describeServer(1, new Date(), name !== "hello");
  if (body.helloOk === true) reply.helloOk = true;
  if (body.saslSupportedMechs !== undefined) reply.saslSupportedMechs = ["SCRAM-SHA-256"];
  return reply;
}
