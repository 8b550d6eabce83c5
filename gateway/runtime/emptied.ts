/** Waiting for connections that were ended to be gone. */

const lookAgainMs = 10;

/** Resolves when `open` is empty, after `patienceMs` at the latest. */
export async function emptied(open: { readonly size: number }, patienceMs: number): Promise<void> {
  const deadline = performance.now() + patienceMs;
  while (open.size > 0 && performance.now() < deadline) await new Promise((done) => setTimeout(done, lookAgainMs));
}
