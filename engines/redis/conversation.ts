/**
 * The talk with one Redis client that will not get any data: its opening commands are answered so that it settles, everything else is refused
 * without closing, since drivers show a refused command and answer a closed connection with another one.
 */
import { GatewayError } from "../../core/errors.ts";
import type { PipeReader } from "../../core/pipe-reader.ts";
import { afterLogin, beforeLogin, type Command, printable, readCommand } from "./commands.ts";
import {
  bulkReply,
  emptyArrayReply,
  emptyMapReply,
  errorReply,
  helloReply,
  integerReply,
  nullReply,
  type RespVersion,
  statusReply,
} from "./replies.ts";

/** A refusal in Redis's form: an error's first word and its text. */
export interface Told {
  readonly code: "NOPERM" | "ERR" | "WRONGPASS";
  readonly text: string;
}

/** Who decides about a client. */
export interface Doorkeeper {
  /** Known before anybody logs in: told in answer to every command; log-ins are then accepted unseen. */
  readonly standing: Told | undefined;
  /** @returns the refusal of a log-in; undefined for a good one. `user` is undefined where the client named none. */
  logIn(user: string | undefined, secret: string): Promise<Told | undefined>;
  /** What a client that has logged in is told in answer to a command. */
  verdict(): Promise<Told>;
}

/** Log-ins that may fail on one connection; drivers try once, or once by HELLO and once by AUTH. */
const maxFailedLogins = 3;
const noAuth: readonly [string, string] = ["NOAUTH", "Authentication required."];
const noAuthHello =
  "HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH <user> <pass> option can be used to authenticate the client and select the RESP protocol version at the same time";

/**
 * Answers commands until the client leaves.
 * @throws {PipeClosedError} when it does; the signal's reason; protocol_violation, told, when it sends what is no command.
 */
export async function converse(reader: PipeReader, keeper: Doorkeeper, clientId: number): Promise<void> {
  const conversation = new Conversation(reader, keeper, clientId);
  try {
    while (!conversation.isOver) await conversation.next();
  } catch (error) {
    // Whoever is not let in anyway may send what is too long to be read: it hears why it is not let in.
    const { code, text } = keeper.standing ?? { code: "ERR", text: error instanceof Error ? error.message : "" };
    if (error instanceof GatewayError && error.kind === "protocol_violation") reader.pipe.write(errorReply(code, text));
    throw error;
  }
  reader.pipe.end();
}

/** A client of Redis that came to another engine's port. */
export function refuseRedis(reader: PipeReader, text: string): Promise<void> {
  const told: Told = { code: "NOPERM", text };
  return converse(reader, { standing: told, logIn: async () => undefined, verdict: async () => told }, 1);
}

class Conversation {
  readonly #reader: PipeReader;
  readonly #keeper: Doorkeeper;
  readonly #clientId: number;
  #version: RespVersion = 2;
  #loggedIn = false;
  #failedLogins = 0;
  #name = "";
  isOver = false;

  constructor(reader: PipeReader, keeper: Doorkeeper, clientId: number) {
    this.#reader = reader;
    this.#keeper = keeper;
    this.#clientId = clientId;
  }

  /** Reads and answers one command. */
  async next(): Promise<void> {
    const command = await readCommand(this.#reader, this.#loggedIn ? afterLogin : beforeLogin);
    if (command.count > 0) await this.#reader.send(await this.#answer(command));
  }

  async #answer(command: Command): Promise<Uint8Array> {
    const { args, count } = command;
    const name = (args[0] as string).toUpperCase();
    switch (name) {
      case "AUTH":
        return count === 2 || count === 3 ? ((await this.#logIn(args.slice(1))) ?? ok()) : wrongCount(name);
      case "HELLO":
        return this.#hello(args);
      case "QUIT":
        this.isOver = true;
        return ok();
      case "RESET":
        this.#loggedIn = false;
        this.#version = 2;
        this.#name = "";
        return statusReply("RESET");
    }
    if (!this.#isIn) return errorReply(...noAuth);
    switch (name) {
      case "CLIENT":
        return this.#client(args);
      case "SELECT":
        return count === 2 ? this.#select(args[1] as string) : wrongCount(name);
      case "COMMAND":
        return args[1]?.toUpperCase() === "DOCS" ? emptyMapReply(this.#version) : emptyArrayReply();
    }
    const told = this.#keeper.standing ?? (await this.#keeper.verdict());
    // ioredis asks for INFO to see whether the server is ready; only NOPERM keeps it from asking for ever.
    return errorReply(name === "INFO" ? "NOPERM" : told.code, told.text);
  }

  get #isIn(): boolean {
    return this.#loggedIn || this.#keeper.standing !== undefined;
  }

  /** `[secret]` or `[user, secret]`. @returns the error to answer; undefined when the client is in. */
  async #logIn(args: readonly string[]): Promise<Uint8Array | undefined> {
    if (this.#keeper.standing) return undefined;
    const [user, secret] = args.length === 1 ? [undefined, args[0] as string] : [args[0], args[1] as string];
    const refused = await this.#keeper.logIn(user === "default" ? undefined : user, secret);
    this.#loggedIn = refused === undefined;
    if (!refused) return undefined;
    if (refused.code === "WRONGPASS" && ++this.#failedLogins >= maxFailedLogins) this.isOver = true;
    return errorReply(refused.code, refused.text);
  }

  /** HELLO [protover [AUTH user secret] [SETNAME name]]: the version changes only when all of it is good. */
  async #hello(args: readonly string[]): Promise<Uint8Array> {
    const asked = args[1] ?? String(this.#version);
    if (!/^\d{1,9}$/.test(asked)) return errorReply("ERR", "Protocol version is not an integer or out of range");
    if (asked !== "2" && asked !== "3") return errorReply("NOPROTO", "unsupported protocol version");
    let name: string | undefined;
    let login: readonly string[] | undefined;
    for (let i = 2; i < args.length; ) {
      const option = (args[i] as string).toUpperCase();
      if (option === "AUTH" && i + 2 < args.length) login = args.slice(i + 1, i + 3);
      else if (option === "SETNAME" && i + 1 < args.length) name = args[i + 1] as string;
      else return errorReply("ERR", `Syntax error in HELLO option '${printable(args[i] as string)}'`);
      i += option === "AUTH" ? 3 : 2;
    }
    if (!login && !this.#isIn) return errorReply("NOAUTH", noAuthHello);
    const refused = login && (await this.#logIn(login));
    if (refused) return refused;
    if (name !== undefined) this.#name = printable(name);
    this.#version = asked === "3" ? 3 : 2;
    return helloReply(this.#version, this.#clientId);
  }

  #client(args: readonly string[]): Uint8Array {
    const subcommand = args[1];
    if (subcommand === undefined) return wrongCount("CLIENT");
    switch (subcommand.toUpperCase()) {
      case "SETNAME":
        this.#name = printable(args[2] ?? "");
        return ok();
      case "SETINFO":
      case "NO-EVICT":
      case "NO-TOUCH":
        return ok();
      case "ID":
        return integerReply(this.#clientId);
      case "GETNAME":
        return this.#name === "" ? nullReply(this.#version) : bulkReply(this.#name);
      default:
        return errorReply("ERR", `unknown subcommand '${printable(subcommand)}'. Try CLIENT HELP.`);
    }
  }

  #select(index: string): Uint8Array {
    return /^(\d|1[0-5])$/.test(index) ? ok() : errorReply("ERR", "DB index is out of range");
  }
}

function ok(): Uint8Array {
  return statusReply("OK");
}

function wrongCount(name: string): Uint8Array {
  return errorReply("ERR", `wrong number of arguments for '${printable(name.toLowerCase())}' command`);
}
