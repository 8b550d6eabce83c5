/** Plays one input before login against the whole data path in memory: PROXY header, TLS boundary, start-up, SASL, cancel. Says what must never be. */
import type { BytePipe, TlsInfo, TlsServerContext } from "../../../core/byte-pipe.ts";
import { pipePair } from "../../../core/byte-pipe.ts";
import { runSession } from "../../../core/session.ts";
import { WrappedPipe } from "../../../core/wrapped-pipe.ts";
import { createPostgresEngine } from "../../../engines/postgres/engine.ts";
import { ProxyDoor } from "../../../gateway/proxy-door.ts";
import { ScriptedClient } from "../../engines/postgres/support/client.ts";
import type { Prng } from "../../engines/postgres/support/prng.ts";
import { settle } from "../../engines/postgres/support/wire.ts";
import { atRest, secrets, World } from "../../engines/postgres/support/world.ts";
import { type Input, nonceMark } from "./input.ts";

/** A balancer whose PROXY header is required connects from here. */
const balancer = "10.9.9.9";
const tls: TlsServerContext = { kind: "tls-server-context" };
/** A refusal, a challenge and a notice about the protocol version are far below this. */
const mostAnswerBytes = 16 * 1024;
/** Processor time; what one input may cost at the very most, and thousands of times what it does. */
const mostCpuMs = 1000;

/** Encryption made believe: what is written behind the handshake arrives as it is, and the pipe says that it is encrypted. */
class PretendedTls extends WrappedPipe {
  readonly #alpn: string;
  readonly #info: TlsInfo | undefined;

  constructor(inner: BytePipe, alpn: string, info?: TlsInfo) {
    super(inner);
    this.#alpn = alpn;
    this.#info = info;
  }

  override get tls(): TlsInfo | undefined {
    return this.#info;
  }

  async startTls(_context: TlsServerContext, received: Uint8Array | undefined): Promise<BytePipe> {
    if (received && received.length > 3 && received[3] === 0xee) {
      this.inner.destroy();
      throw new Error("handshake failure");
    }
    this.inner.sink = undefined;
    return new PretendedTls(this.inner, this.#alpn, { version: "TLSv1.3", alpn: this.#alpn, serverEndPoint: Buffer.alloc(32, 9) });
  }
}

/** Thrown when something happened that must not; the message says what. */
export class FuzzFinding extends Error {}

export class Player {
  readonly world: World;
  readonly #door: ProxyDoor;
  readonly #engine: ReturnType<typeof createPostgresEngine>;
  readonly #uncaught: unknown[] = [];
  readonly #note = (error: unknown) => void this.#uncaught.push(error);
  played = 0;

  private constructor(world: World) {
    this.world = world;
    this.#door = new ProxyDoor(world.clock, world.log, { from: [balancer], timeoutMs: 60_000, maxWaiting: 10 });
    this.#engine = createPostgresEngine({
      directory: world.directory,
      live: world.live,
      secrets,
      clock: world.clock,
      log: world.log,
      pool: world.pool,
      tls,
      tlsRequired: () => "remote",
      nowMs: () => world.sessions.nowMs,
    });
    process.on("uncaughtException", this.#note);
    process.on("unhandledRejection", this.#note);
  }

  static async create(): Promise<Player> {
    return new Player(await World.create({ limits: { exempt: ["0.0.0.0/0", "::/0"] } }));
  }

  async close(): Promise<void> {
    process.off("uncaughtException", this.#note);
    process.off("unhandledRejection", this.#note);
    this.#door.stop();
    await this.world.end();
  }

  /** @throws {FuzzFinding} */
  async play(input: Input, random: Prng): Promise<void> {
    this.played++;
    const { world } = this;
    world.lines.length = 0;
    const cpuBefore = process.cpuUsage();
    const isProxied = input[0]?.[0] === 0x50 || input[0]?.[0] === 0x0d; // "PROXY", or the signature of version 2
    const [near, far] = pipePair({ address: isProxied ? balancer : random.pick(["127.0.0.1", "192.0.2.1"]), port: 50_000 });
    const client = new ScriptedClient(near);
    const socket = new PretendedTls(far, random.pick(["", "postgresql", "postgresql", "h2"]));
    world.running++;
    let entered = false;
    this.#door.enter(socket, (pipe) => {
      entered = true;
      void runSession(pipe, this.#engine, world.deps).finally(() => world.running--);
    });
    for (const step of input) {
      const bytes = withNonce(step, client.received);
      for (const piece of random.chance(0.2) ? random.cut(bytes.subarray(0, 400)).concat(bytes.subarray(400)) : [bytes]) {
        if (!client.pipe.isClosed) client.send(piece);
      }
      await settle();
    }
    if (random.chance(0.5)) client.pipe.end();
    else client.pipe.destroy();
    await settle();
    client.pipe.destroy();
    await settle();
    if (world.running > 0) {
      world.clock.advance(100_000); // whoever still waits is past its login timeout
      await settle();
    }
    if (!entered) world.running--;
    this.#judge(client.received, cpuBefore);
  }

  #judge(received: Buffer, cpuBefore: NodeJS.CpuUsage): void {
    const { world } = this;
    const cpu = process.cpuUsage(cpuBefore);
    const cpuMs = (cpu.user + cpu.system) / 1000;
    const counts = { ...world.counts(), waiting: this.#door.waiting };
    if (JSON.stringify(counts) !== JSON.stringify(atRest)) throw new FuzzFinding(`left behind: ${JSON.stringify(counts)}`);
    if (this.#uncaught.length > 0) throw new FuzzFinding(`uncaught: ${(this.#uncaught.splice(0)[0] as Error)?.stack}`);
    const fault = world.lines.find((line) => line.level === "error");
    if (fault) throw new FuzzFinding(`logged as an error: ${JSON.stringify(fault)}`);
    if (received.length > mostAnswerBytes) throw new FuzzFinding(`${received.length} bytes were answered`);
    if (world.server.connections.length > 0) throw new FuzzFinding("a database server was dialled");
    if (received.includes(Buffer.from([0x52, 0, 0, 0, 8, 0, 0, 0, 0]))) throw new FuzzFinding("AuthenticationOk was sent");
    if (cpuMs > mostCpuMs) throw new FuzzFinding(`${Math.round(cpuMs)} ms of processor time`);
  }
}

/** The last server-first-message's nonce in the place that was left for it. */
function withNonce(step: Uint8Array, received: Buffer): Buffer {
  const bytes = Buffer.from(step);
  const at = bytes.indexOf(nonceMark);
  if (at < 0) return bytes;
  const nonce = /r=([^,]+),s=/.exec(received.toString("latin1"))?.[1] ?? "";
  const whole = Buffer.concat([bytes.subarray(0, at), Buffer.from(nonce), bytes.subarray(at + nonceMark.length)]);
  // The length a client would have written in front of it.
  if (whole[0] === 0x70 && whole.length > 5 && bytes.readUInt32BE(1) === bytes.length - 1) whole.writeUInt32BE(whole.length - 1, 1);
  return whole;
}
