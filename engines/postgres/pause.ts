/** Keeps a client waiting between two transactions, for as long as somebody wants it to. */

/** What a pause needs of its session. */
export interface PauseHost {
  /** Outside a transaction, with nothing under way. */
  isAtRest(): boolean;
  /** From now on what the client sends is kept. */
  stop(): void;
  goOn(): void;
  /** Makes what the client has prepared fit the schema as it is now. */
  refresh(): Promise<void>;
}

export class Pauses {
  readonly #host: PauseHost;
  #holders = 0;
  #isOver = false;
  #waiting: ((isWaiting: boolean) => void)[] = [];
  #refreshing: Promise<void> = Promise.resolve();
  /** The client waits. */
  isBegun = false;

  constructor(host: PauseHost) {
    this.#host = host;
  }

  /** Each call needs a `resume`. @returns false when the session ended, or was let go on, before it came to rest. */
  hold(): Promise<boolean> {
    this.#holders++;
    const begun = new Promise<boolean>((resolve) => this.#waiting.push(resolve));
    if (this.isBegun || this.#isOver) this.#tell(!this.#isOver);
    else this.look();
    return begun;
  }

  /** To be called when the session may have come to rest. */
  look(): void {
    if (this.#holders === 0 || this.isBegun || this.#isOver || !this.#host.isAtRest()) return;
    this.isBegun = true;
    this.#host.stop();
    this.#tell(true);
  }

  async resume(schemaChanged: boolean): Promise<void> {
    if (schemaChanged && this.isBegun) {
      this.#refreshing = this.#refreshing.then(() => (this.#isOver ? undefined : this.#host.refresh()));
      await this.#refreshing;
    }
    if (--this.#holders > 0 || this.#isOver) return;
    this.#tell(false);
    if (!this.isBegun) return;
    this.isBegun = false;
    this.#host.goOn();
  }

  /** The session is over. */
  end(): void {
    this.#isOver = true;
    this.#tell(false);
  }

  #tell(isWaiting: boolean): void {
    for (const resolve of this.#waiting.splice(0)) resolve(isWaiting);
  }
}
