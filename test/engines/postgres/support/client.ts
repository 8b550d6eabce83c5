/** A scripted client on one end of an in-memory connection. */
import type { BytePipe } from "../../../../core/byte-pipe.ts";
import { ScramClient } from "../../../../core/scram.ts";
import { errorFields, type Frame, int32, message, settle, splitFrames, startupPacket, testCrypto } from "./wire.ts";

export interface LoginOptions {
  readonly user: string;
  readonly database: string;
  readonly password: string;
  readonly parameters?: Readonly<Record<string, string>>;
  readonly version?: number;
}

export class ScriptedClient {
  readonly pipe: BytePipe;
  received = Buffer.alloc(0);
  /** Times it was told to go on writing. */
  drains = 0;
  isClosed = false;

  constructor(pipe: BytePipe) {
    this.pipe = pipe;
    pipe.sink = {
      data: (chunk) => {
        this.received = Buffer.concat([this.received, chunk]);
      },
      drain: () => {
        this.drains++;
      },
      closed: () => {
        this.isClosed = true;
      },
    };
    pipe.resume();
  }

  send(...messages: Uint8Array[]): void {
    this.pipe.write(Buffer.concat(messages));
  }

  /** Sends, then lets everything run. */
  async say(...messages: Uint8Array[]): Promise<void> {
    this.send(...messages);
    await settle();
  }

  get frames(): Frame[] {
    return splitFrames(this.received).frames;
  }

  /** Type letters of everything received. */
  get types(): string {
    return this.frames.map((frame) => frame.type).join("");
  }

  /** Forgets what was received. */
  clear(): void {
    this.received = Buffer.alloc(0);
  }

  /** What it was told in the last ErrorResponse. */
  get error(): { severity: string; sqlstate: string; message: string; hint: string | undefined } | undefined {
    const frame = this.frames.findLast((one) => one.type === "E");
    if (!frame) return undefined;
    const fields = errorFields(frame.body);
    return { severity: fields.S ?? "", sqlstate: fields.C ?? "", message: fields.M ?? "", hint: fields.H };
  }

  /** Key of BackendKeyData. */
  get key(): { pid: number; secret: Buffer } {
    const frame = this.frames.find((one) => one.type === "K");
    if (!frame) throw new Error("no BackendKeyData was received");
    return { pid: frame.body.readUInt32BE(0), secret: frame.body.subarray(4) };
  }

  /** Runs the start-up and the SCRAM exchange to its end, whichever that is. */
  async login(options: LoginOptions): Promise<void> {
    await this.say(startupPacket({ user: options.user, database: options.database, ...options.parameters }, options.version));
    await this.authenticate(options.password);
  }

  /** The SASL messages alone, behind a start-up packet. */
  async authenticate(password: string): Promise<void> {
    const scram = new ScramClient(testCrypto, password);
    const first = Buffer.from(scram.clientFirst);
    await this.say(message("p", "SCRAM-SHA-256\0", int32(first.length), first));
    const challenge = this.frames.find((frame) => frame.type === "R" && frame.body.readUInt32BE(0) === 11);
    if (!challenge) return;
    await this.say(message("p", await scram.answer(challenge.body.subarray(4).toString("utf8"))));
    const final = this.frames.find((frame) => frame.type === "R" && frame.body.readUInt32BE(0) === 12);
    if (final) scram.verify(final.body.subarray(4).toString("utf8"));
  }
}
