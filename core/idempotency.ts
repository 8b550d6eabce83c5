/** Requests that are made at most once: what is remembered of a POST with an Idempotency-Key, for a day. */

export interface RememberedRequest {
  /** What was asked: another request under the same key is a mistake of the caller's. */
  readonly requestHash: string;
  /** Undefined while it runs, or where the gateway was stopped before it ended. */
  readonly answer: SealedAnswer | undefined;
}

/** An answer that only its caller can open: it may hold secrets that are shown once. */
export interface SealedAnswer {
  readonly status: number;
  readonly sealed: Uint8Array;
}

export interface Idempotency {
  /** Takes the key for a request. @returns what is remembered under it, undefined when it is new. */
  begin(owner: string, keyHash: string, requestHash: string): Promise<RememberedRequest | undefined>;
  finish(owner: string, keyHash: string, answer: SealedAnswer): Promise<void>;
  /** Nothing was done: the key is free again. */
  abandon(owner: string, keyHash: string): Promise<void>;
}

/** How long an answer is remembered. */
export const rememberedMs = 86_400_000;
