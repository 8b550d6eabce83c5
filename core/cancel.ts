/** Cancel keys: the secret is ours, random in every bit, compared in constant time, worth nothing to anyone but the session it was made for. */
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

/** What a session's key is to look like. */
export interface CancelKeyShape {
  /** The server's own process id of the session, which clients name in `pg_cancel_backend` and look for in `pg_locks`; none is made up. */
  readonly pid: number | undefined;
  readonly secretBytes: number;
}

/** Keys of open sessions, and the requests that come with them. */
export interface Cancels {
  register(session: Cancellable, shape: CancelKeyShape): CancelKey;
  unregister(key: CancelKey): void;
  /** Passes a request on to the session it belongs to. @returns false for a wrong key: nothing is done then, and the client is not told. */
  request(pid: number, secret: Uint8Array): boolean | Promise<boolean>;
}

interface Entry {
  readonly secret: Uint8Array;
  readonly session: Cancellable;
}

export class CancelRegistry implements Cancels {
  readonly #crypto: Crypto;
  /** Several servers may each have a process of the same id. */
  readonly #sessions = new Map<number, readonly Entry[]>();

  constructor(crypto: Crypto) {
    this.#crypto = crypto;
  }

  register(session: Cancellable, { pid = this.#freshPid(), secretBytes }: CancelKeyShape): CancelKey {
    const secret = this.#crypto.randomBytes(secretBytes);
    this.#sessions.set(pid, [...(this.#sessions.get(pid) ?? []), { secret, session }]);
    return { pid, secret };
  }

  unregister(key: CancelKey): void {
    const others = (this.#sessions.get(key.pid) ?? []).filter(({ secret }) => secret !== key.secret);
    if (others.length > 0) this.#sessions.set(key.pid, others);
    else this.#sessions.delete(key.pid);
  }

  request(pid: number, secret: Uint8Array): boolean {
    const entry = this.#sessions.get(pid)?.find((each) => this.#crypto.equal(each.secret, secret));
    entry?.session.cancel();
    return entry !== undefined;
  }

  #freshPid(): number {
    for (;;) {
      const random = this.#crypto.randomBytes(4);
      // Positive and not zero: drivers print it as a process id.
      const pid = (((random[0]! & 0x7f) << 24) | (random[1]! << 16) | (random[2]! << 8) | random[3]!) >>> 0;
      if (pid !== 0 && !this.#sessions.has(pid)) return pid;
    }
  }
}
