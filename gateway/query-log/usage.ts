/** How fine usage is kept. */
export const usageIntervalMs = 300_000;
