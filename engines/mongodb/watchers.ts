/**
 * Connections that have said hello and not logged in. Drivers watch a server this way for as long as they run, one connection each, and take
 * its end for the server's: so they may stay, but only so many of them, and none that has long been silent.
 */
import { GatewayError } from "../../core/errors.ts";

export interface WatcherLimits {
  /** Most of them at a time, on this instance; beyond it the one silent longest goes. */
  readonly maxWatchers: number;
  /** Far beyond the 10 s drivers watch at. */
  readonly maxSilenceMs: number;
}

export const watcherLimits: WatcherLimits = { maxWatchers: 10_000, maxSilenceMs: 600_000 };

/** One connection's place among them; it has none until it is first heard. */
export interface Watcher {
  /** It sent something. */
  heard(nowMs: number): void;
  /** It logged in, or left. */
  leave(): void;
}

interface Place {
  heardAtMs: number;
  readonly dismiss: (reason: GatewayError) => void;
}

export class Watchers {
  readonly #limits: WatcherLimits;
  /** Silent longest first. */
  readonly #places = new Set<Place>();

  constructor(limits: WatcherLimits = watcherLimits) {
    this.#limits = limits;
  }

  get size(): number {
    return this.#places.size;
  }

  /** `dismiss` ends the connection. */
  open(dismiss: (reason: GatewayError) => void): Watcher {
    const place: Place = { heardAtMs: 0, dismiss };
    return {
      heard: (nowMs) => {
        place.heardAtMs = nowMs;
        this.#places.delete(place);
        this.#places.add(place);
        this.#clear(nowMs);
      },
      leave: () => void this.#places.delete(place),
    };
  }

  /** Looked at whenever one of them is heard: while none is, there is no crowd to thin. */
  #clear(nowMs: number): void {
    for (const place of this.#places) {
      const isSilent = nowMs - place.heardAtMs > this.#limits.maxSilenceMs;
      if (!isSilent && this.#places.size <= this.#limits.maxWatchers) return;
      this.#places.delete(place);
      const why = isSilent ? "nothing was heard from it for too long" : "too many clients have not logged in";
      place.dismiss(new GatewayError("login_timeout", `closed without a login: ${why}`));
    }
  }
}
