/** What has been started so far, so that a failure half-way or a stop undoes it in reverse order. */

export class Cleanup {
  readonly #steps: { readonly what: string; readonly undo: () => Promise<void> | void }[] = [];
  readonly #onFailure: (what: string, error: unknown) => void;
  #running: Promise<void> | undefined;

  /** `onFailure` hears of a step that could not be undone; the others are undone all the same. */
  constructor(onFailure: (what: string, error: unknown) => void) {
    this.#onFailure = onFailure;
  }

  add(what: string, undo: () => Promise<void> | void): void {
    this.#steps.push({ what, undo });
  }

  /** Called again, it waits for the same end. */
  run(): Promise<void> {
    this.#running ??= this.#undoAll();
    return this.#running;
  }

  async #undoAll(): Promise<void> {
    for (let step = this.#steps.pop(); step; step = this.#steps.pop()) {
      try {
        await step.undo();
      } catch (error) {
        this.#onFailure(step.what, error);
      }
    }
  }
}
