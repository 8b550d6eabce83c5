/** Waiting for something to become true, by asking. */

/** Asks again and again until the answer is yes; gives up long after anything healthy would have happened. */
export async function until(ask: () => boolean | Promise<boolean>, describe: () => string = () => "", limitMs = 45_000): Promise<void> {
  const deadline = performance.now() + limitMs;
  while (!(await ask())) {
    if (performance.now() > deadline) throw new Error(`it never became true: ${ask} ${describe()}`);
    await new Promise((done) => setTimeout(done, 25));
  }
}
