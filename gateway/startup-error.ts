/** What keeps the gateway from starting, told to its operator with the option that helps. */

export class StartupError extends Error {
  /** The command-line option or setting at fault: `--data-dir`. */
  readonly option: string;

  constructor(option: string, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "StartupError";
    this.option = option;
  }
}
