/** A scripted MongoDB client on one end of an in-memory connection. */
import { Binary, type Document } from "bson";
import type { BytePipe } from "../../../../core/byte-pipe.ts";
import { settle } from "../../postgres/support/wire.ts";
import { ScramUser } from "./scram.ts";
import { opMsg, type Reply, readReplies, textOf } from "./wire.ts";

export interface ScramLogin {
  readonly user: string;
  readonly password: string;
  readonly source: string;
  readonly skipEmptyExchange?: boolean;
  /** saslStart inside hello, as drivers do. */
  readonly speculative?: boolean;
}

export class ScriptedClient {
  readonly pipe: BytePipe;
  received = Buffer.alloc(0);
  isClosed = false;
  #requestId = 100;

  constructor(pipe: BytePipe) {
    this.pipe = pipe;
    pipe.sink = {
      data: (chunk) => {
        this.received = Buffer.concat([this.received, chunk]);
      },
      drain: () => undefined,
      closed: () => {
        this.isClosed = true;
      },
    };
    pipe.resume();
  }

  async say(...messages: Uint8Array[]): Promise<void> {
    for (const one of messages) this.pipe.write(one);
    await settle();
  }

  get replies(): Reply[] {
    return readReplies(this.received);
  }

  /** One command and its answer. */
  async ask(command: Document, database = "admin"): Promise<Document> {
    const requestId = ++this.#requestId;
    await this.say(opMsg({ ...command, $db: database }, { requestId }));
    const reply = this.replies.find((one) => one.responseTo === requestId);
    if (!reply) throw new Error(`${Object.keys(command)[0]} was not answered`);
    return reply.document;
  }

  /** SASL PLAIN. @returns the answer. */
  plain(user: string, password: string, source = "$external"): Promise<Document> {
    return this.ask({ saslStart: 1, mechanism: "PLAIN", payload: new Binary(Buffer.from(`\0${user}\0${password}`)) }, source);
  }

  /** The whole SCRAM exchange. @returns the last answer; of a success, the server's signature has been verified. */
  async scram({ user, password, source, skipEmptyExchange = true, speculative = false }: ScramLogin): Promise<Document> {
    const scram = new ScramUser(user, password);
    const start = { saslStart: 1, mechanism: "SCRAM-SHA-256", payload: new Binary(Buffer.from(scram.first)), options: { skipEmptyExchange } };
    const started = speculative ? await this.#speculate({ ...start, db: source }, `${source}.${user}`) : await this.ask(start, source);
    if (started.ok !== 1) return started;
    const { conversationId } = started;
    const proof = new Binary(Buffer.from(scram.answer(textOf(started.payload))));
    const checked = await this.ask({ saslContinue: 1, conversationId, payload: proof }, source);
    if (checked.ok !== 1) return checked;
    if (!scram.trusts(textOf(checked.payload))) throw new Error("the server does not know the password");
    return checked.done ? checked : this.ask({ saslContinue: 1, conversationId, payload: new Binary(Buffer.alloc(0)) }, source);
  }

  async #speculate(start: Document, user: string): Promise<Document> {
    const hello = await this.ask({ hello: 1, saslSupportedMechs: user, speculativeAuthenticate: start });
    return hello.speculativeAuthenticate ?? { ok: 0, errmsg: "not answered" };
  }
}
