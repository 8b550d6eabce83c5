/** Times all socket adapters share. */

/** How long a pipe that was ended waits for its peer when its owner does not say. */
export const defaultLingerMs = 2000;

/**
 * Silence after which the kernel probes a peer, so that a vanished one is noticed. How often it then asks is not said: ten times, a second apart,
 * on Node and Bun, and nine times, 75 seconds apart, on Deno.
 */
export const keepAliveDelayMs = 45_000;
