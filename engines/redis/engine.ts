/** Redis at the door: authenticates by AUTH or HELLO, and tells where to go in answer to every command. */
import type { BytePipe } from "../../core/byte-pipe.ts";
import type { RedirectEngine, Visit } from "../../core/doorman.ts";
import { GatewayError } from "../../core/errors.ts";
import type { Identity } from "../../core/identity.ts";
import { openDoor } from "../foreign/door.ts";
import { converse, type Doorkeeper, type Told } from "./conversation.ts";
import { findRedisVerdict } from "./verdict.ts";

/** How long a verdict is repeated before it is looked up again. */
const verdictFreshMs = 1000;

export function createRedisEngine(): RedirectEngine {
  let lastClientId = 0;
  return {
    name: "Redis",
    async serve(socket, visit) {
      const reader = await openDoor(socket, visit);
      if (reader) await converse(reader, new VisitKeeper(visit, reader.pipe), ++lastClientId);
    },
  };
}

/** One client's log-in and verdict, asked of the core. */
class VisitKeeper implements Doorkeeper {
  readonly standing: Told | undefined;
  readonly #visit: Visit;
  #user: string | undefined;
  #identity: Identity | undefined;
  #verdict: Told | undefined;
  #verdictAtMs = 0;
  /** Hash of the last user and secret that failed: one wrong secret, sent by HELLO and again by AUTH, is one failure. */
  #failed: { readonly hash: string; readonly told: Told } | undefined;

  constructor(visit: Visit, pipe: BytePipe) {
    this.#visit = visit;
    this.standing = findStanding(visit, pipe);
  }

  async logIn(user: string | undefined, secret: string): Promise<Told | undefined> {
    const visit = this.#visit;
    const hash = visit.secrets.lookupHash(`${user ?? ""}\0${secret}`);
    if (this.#failed?.hash === hash) return this.#failed.told;
    try {
      const identity = await visit.verifySecretOnly(user ?? "default", secret);
      this.#user = user;
      this.#verdict = undefined;
      this.#identity = identity;
      visit.note("visit redirected", (await this.verdict()).text);
    } catch (error) {
      const told = toldOf(error);
      if (told.code === "WRONGPASS") this.#failed = { hash, told };
      return told;
    }
    visit.loggedIn();
    return undefined;
  }

  async verdict(): Promise<Told> {
    const nowMs = this.#visit.clock.nowMs();
    if (this.#verdict && nowMs - this.#verdictAtMs < verdictFreshMs) return this.#verdict;
    try {
      const error = await findRedisVerdict(this.#visit, this.#identity as Identity, this.#user);
      this.#verdict = { code: error.kind === "bad_request" ? "ERR" : "NOPERM", text: error.message };
    } catch (error) {
      this.#verdict ??= toldOf(error); // while the store is away, what was last known
    }
    this.#verdictAtMs = nowMs;
    return this.#verdict;
  }
}

/** What is told before anybody logs in: a ban, a limit, or that TLS is missing. */
function findStanding(visit: Visit, pipe: BytePipe): Told | undefined {
  if (visit.refusal) return { code: "ERR", text: visit.refusal.message };
  try {
    visit.assertTls(pipe);
    return undefined;
  } catch (error) {
    if (!(error instanceof GatewayError)) throw error;
    return { code: "ERR", text: `${error.message}: connect with rediss://` };
  }
}

/** @throws what is no refusal: a fault of ours. */
function toldOf(error: unknown): Told {
  if (!(error instanceof GatewayError) || error.kind === "shutdown") throw error;
  return { code: error.kind === "auth_failed" ? "WRONGPASS" : "ERR", text: error.message };
}
