/** Cancel keys: ours, random in every bit, compared in constant time, worth nothing to anyone but the session they were made for. */
import type { Crypto } from "./crypto.ts";

export interface Cancellable {
  /** Asks the database server to cancel what the session runs now; nothing happens when it runs nothing. */
  cancel(): void;
}

export interface CancelKey {
  readonly pid: number;
  /** 4 bytes for protocol 3.0 clients, 32 for 3.2. */
  readonly secret: Uint8Array;
}

export class CancelRegistry {
  readonly #crypto: Crypto;
  readonly #sessions = new Map<number, { secret: Uint8Array; session: Cancellable }>();

  constructor(crypto: Crypto) {
    this.#crypto = crypto;
  }

  /** A new key for a session, unique among the live ones. */
  register(session: Cancellable, secretBytes: number): CancelKey {
    const secret = this.#crypto.randomBytes(secretBytes);
    for (;;) {
      const random = this.#crypto.randomBytes(4);
      // Positive and not zero: drivers print it as a process id.
      const pid = (((random[0]! & 0x7f) << 24) | (random[1]! << 16) | (random[2]! << 8) | random[3]!) >>> 0;
      if (pid === 0 || this.#sessions.has(pid)) continue;
      this.#sessions.set(pid, { secret, session });
      return { pid, secret };
    }
  }

  unregister(key: CancelKey): void {
    this.#sessions.delete(key.pid);
  }

  /** Passes a request on to the session it belongs to. @returns false for a wrong key: nothing is done then, and the client is not told. */
  request(pid: number, secret: Uint8Array): boolean {
    const entry = this.#sessions.get(pid);
    if (!entry || !this.#crypto.equal(entry.secret, secret)) return false;
    entry.session.cancel();
    return true;
  }
}
