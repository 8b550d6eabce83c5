/** What the instances of one gateway count together. Implemented over Redis in gateway/; without it each instance counts for itself. */

/** What all instances together know of an address, this connection included. */
export interface SharedAnswer {
  /** Whole seconds left of a ban; 0 when there is none. */
  readonly bannedS: number;
  readonly connections: number;
  /** Whole seconds until it may connect again; 0 when it is not too fast. */
  readonly waitS: number;
}

/** Keys are those of `limitKey`. Nothing here rejects, and nothing is waited for longer than a moment. */
export interface SharedCounts {
  /** Counts a new connection; `open` is how many this instance has of that address now. Undefined when it cannot be told: local counts stand. */
  admit(key: string, open: number): Promise<SharedAnswer | undefined>;
  /** A connection is not to count against the rate after all. */
  refund(key: string): void;
  /** A connection ended; `open` are left here. */
  released(key: string, open: number): void;
  /** One proven wrong secret. */
  failed(key: string): void;
  /** A right one. */
  succeeded(key: string): void;
  lifted(key: string): void;
}
