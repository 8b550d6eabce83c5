/** Questions and words between the first process and a worker: typed, in order, and as many in one packet as were said in one turn. */
import type { Peer } from "../runtime/worker-process.ts";

/** What one side can be asked. A method that returns nothing may also just be told. */
export type Calls<C> = { readonly [N in keyof C]: (...args: never[]) => unknown };

type Frame =
  | readonly [kind: "tell", name: string, args: readonly unknown[]]
  | readonly [kind: "ask", name: string, args: readonly unknown[], id: number]
  | readonly [kind: "answer", id: number, answer: unknown]
  | readonly [kind: "failed", id: number, message: string];

interface Waiting {
  readonly resolve: (answer: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** `There` is what the other side answers to. */
export class Channel<There extends Calls<There>> {
  readonly #peer: Peer;
  readonly #waiting = new Map<number, Waiting>();
  #outgoing: Frame[] = [];
  #nextId = 1;
  #gone: Error | undefined;
  /** Called once, when the other process is gone: its open questions come to nothing. */
  onGone: ((how: string) => void) | undefined;

  /** `here` is what this side answers to. */
  constructor(peer: Peer, here: Calls<object>) {
    this.#peer = peer;
    const handlers = here as Readonly<Record<string, (...args: unknown[]) => unknown>>;
    peer.onPacket((packet) => {
      for (const frame of packet as readonly Frame[]) this.#hear(frame, handlers);
    });
    peer.onGone((how) => this.#end(how));
  }

  /** @throws Error when the other side failed, or is gone. */
  ask<N extends keyof There & string>(name: N, ...args: Parameters<There[N]>): Promise<Awaited<ReturnType<There[N]>>> {
    return new Promise((resolve, reject) => {
      if (this.#gone) return reject(this.#gone);
      const id = this.#nextId++;
      this.#waiting.set(id, { resolve: resolve as (answer: unknown) => void, reject });
      this.#say(["ask", name, args, id]);
    });
  }

  /** Said into the void when the other side is gone. */
  tell<N extends keyof There & string>(name: N, ...args: Parameters<There[N]>): void {
    if (!this.#gone) this.#say(["tell", name, args]);
  }

  #say(frame: Frame): void {
    if (this.#outgoing.push(frame) > 1) return;
    queueMicrotask(() => {
      const packet = this.#outgoing;
      this.#outgoing = [];
      this.#peer.send(packet);
    });
  }

  #hear(frame: Frame, handlers: Readonly<Record<string, (...args: unknown[]) => unknown>>): void {
    if (frame[0] === "tell") handlers[frame[1]]!(...frame[2]);
    else if (frame[0] === "ask") void this.#answer(frame[3], () => handlers[frame[1]]!(...frame[2]));
    else {
      const waiting = this.#waiting.get(frame[1]);
      this.#waiting.delete(frame[1]);
      if (frame[0] === "answer") waiting?.resolve(frame[2]);
      else waiting?.reject(new Error(frame[2]));
    }
  }

  async #answer(id: number, work: () => unknown): Promise<void> {
    try {
      this.#say(["answer", id, await work()]);
    } catch (error) {
      this.#say(["failed", id, error instanceof Error ? error.message : String(error)]);
    }
  }

  #end(how: string): void {
    this.#gone = new Error(`the other process is gone (${how})`);
    for (const { reject } of this.#waiting.values()) reject(this.#gone);
    this.#waiting.clear();
    this.onGone?.(how);
  }
}
