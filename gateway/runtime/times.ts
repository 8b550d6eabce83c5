/** Times all socket adapters share. */

/** How long a pipe that was ended waits for its peer when its owner does not say. */
export const defaultLingerMs = 2000;

/** Silence after which the kernel probes a peer, so that a vanished one is noticed. */
export const keepAliveDelayMs = 60_000;
