/** What a language's folder declares: how its packages are installed, and for each driver what is run. */

/** A program and its arguments. It is given the world's addresses through the environment: see world.ts. */
export type Command = readonly [program: string, ...args: string[]];

/**
 * What a driver's program shows, each by a line `ok <check>`, `fail <check>: <error>` or `skip <check>: <why the driver cannot>`;
 * a line `version <driver's version>` says what was tested. A check that is not reported counts as failed.
 */
export const driverChecks = ["types", "prepared statements", "transactions", "pool", "cancellation", "errors", "LISTEN", "reconnect"] as const;

/** The same for a client pool under a gateway that drops idle clients after three seconds. */
export const poolChecks = ["checked before use", "recycled in time", "long request"] as const;

export interface Snippet {
  /** The guide's code blocks: the second word behind their fence, the name of the file they are written to. */
  readonly files: readonly string[];
  /** Run in order in the folder of these files, with the environment of every program here. */
  readonly commands: readonly Command[];
  /** What a file needs around it to be a program: the async function that an `await` stands in, the line that prints. */
  readonly complete?: (text: string, file: string) => string;
  /** Statements for the workspace before the tenants get its schema: what the guide says the tables need. */
  readonly workspace?: readonly string[];
  /** Run in an empty workspace, without the document's tables, because the snippet makes its own. */
  readonly empty?: true;
  /**
   * What proves that it worked. `reads`: it prints the tenant's row (Zoe, 1234.56). `writes`: it leaves Alice's row in the tenant.
   * `captured`: it leaves this table in the workspace, as versions of the blueprint.
   */
  readonly proof: "reads" | "writes" | { readonly captured: string };
}

/** A schema tool: run against an empty workspace for each step, its changes deployed to the tenants after each. */
export interface Migration {
  /** Each is given the number of the step as its last argument: 1 makes accounts and transactions, 2 adds the column accounts.plan. */
  readonly command: Command;
  /** Files of this name are taken out of the guide and lie in the working directory, as for a snippet. */
  readonly files?: readonly string[];
}

export interface Row {
  /** As in docs/drivers.md. */
  readonly name: string;
  readonly snippet?: Snippet;
  /** Prints a line for each of `driverChecks`. */
  readonly checks?: Command;
  /** `checks` are run in transaction mode too, in every run: see README.md. */
  readonly sharing?: true;
  /** A client that is no library: prints a line for each thing it does, in words of its own, and ends with 1 where one went wrong. */
  readonly tool?: Command;
  /** The same against a gateway of its own, of this configuration. Asked for after `prepare`. */
  readonly toolGateway?: () => Readonly<Record<string, unknown>>;
  /** Prints a line for each of `poolChecks`. */
  readonly pool?: Command;
  /** Prints `version …`. */
  readonly migration?: Migration;
  /** This one needs more than the language does. @returns why it cannot be run here, if so. */
  readonly prepare?: () => Promise<string | undefined>;
  /** Why it is listed and never run. */
  readonly absent?: string;
  /** For the table: what somebody should know. */
  readonly note?: string;
}

export interface Language {
  /** As in docs/drivers.md. */
  readonly name: string;
  /** docs/connect/<guide>.md */
  readonly guide: string;
  /** Installs what its rows share. @returns why it cannot be run here, if so. */
  readonly prepare: () => Promise<string | undefined>;
  /** Where programs and snippets are run; a folder of its own is made below for each. Known after `prepare`. */
  readonly workDir: () => string;
  /** More of the environment of its programs; known after `prepare`. */
  readonly env?: () => Readonly<Record<string, string>>;
  readonly rows: readonly Row[];
}
