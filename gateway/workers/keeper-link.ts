/** A worker's view of what the first process keeps: who may come in, bans, places, cancel requests for other workers' sessions. */
import type { Bans } from "../../core/ban.ts";
import type { BytePipe } from "../../core/byte-pipe.ts";
import type { CancelKey, CancelKeyShape, Cancellable, CancelRegistry, Cancels } from "../../core/cancel.ts";
import type { Clock } from "../../core/clock.ts";
import { GatewayError } from "../../core/errors.ts";
import { type Admission, admitExempt, type Gate, limitKey, matchCidrs } from "../../core/limit.ts";
import type { Places } from "../../core/live.ts";
import { PlainOnlyPipe, ReplyBudget } from "../../core/reply-budget.ts";
import { toBase64 } from "../../core/secrets.ts";
import type { KeeperCalls } from "./calls.ts";
import type { Channel } from "./channel.ts";

export class KeeperLink {
  readonly #keeper: Channel<KeeperCalls>;
  /** What may be told is decided by the first process; only the waiting is done here. */
  readonly #replies: ReplyBudget;
  #isExempt: (address: string) => boolean;
  #connections = 0;

  constructor(keeper: Channel<KeeperCalls>, clock: Clock, exempt: readonly string[]) {
    this.#keeper = keeper;
    this.#replies = new ReplyBudget(clock, 0);
    this.#isExempt = matchCidrs(exempt);
  }

  reload(exempt: readonly string[]): void {
    this.#isExempt = matchCidrs(exempt);
  }

  /** Runs a connection once it is known what is to become of it. */
  enter(pipe: BytePipe, run: (pipe: BytePipe, gate: Gate) => void): void {
    const { address } = pipe.peer;
    if (address === "" || this.#isExempt(address)) {
      run(
        pipe,
        gateOf(admitExempt(limitKey(address)), () => true),
      );
      return;
    }
    const connection = ++this.#connections;
    this.#admit(connection, address).then(
      (admission) =>
        run(
          pipe,
          gateOf(admission, () => this.#keeper.ask("allowWrongCancel", connection)),
        ),
      () => pipe.destroy(), // the first process is gone, and so will this one be
    );
  }

  readonly bans: Bans = {
    // Whether it brought a ban is logged where it is known.
    recordFailure: (address) =>
      this.#keeper.ask("recordFailure", address).then(
        () => false,
        () => false, // the first process is gone, and so will this one be
      ),
    recordSuccess: (address) => this.#keeper.tell("recordSuccess", address),
    secondsLeft: () => 0,
    list: () => [],
    lift: () => false,
  };

  readonly places: Places = {
    take: (database, limit) => this.#keeper.ask("takePlace", database, limit),
    give: (database) => this.#keeper.tell("givePlace", database),
  };

  /** Requests for sessions that are not in `own` are passed on. */
  cancels(own: CancelRegistry): Cancels {
    return {
      register: (session: Cancellable, shape: CancelKeyShape) => own.register(session, shape),
      unregister: (key: CancelKey) => own.unregister(key),
      request: (pid, secret) => own.request(pid, secret) || this.#keeper.ask("cancel", pid, toBase64(secret)),
    };
  }

  async #admit(connection: number, address: string): Promise<Admission> {
    const { isTold, refusal } = await this.#keeper.ask("admit", connection, address);
    let released = false;
    return {
      refusal: refusal && new GatewayError(refusal.kind, refusal.message, refusal.retryAfterS == null ? {} : { retryAfterS: refusal.retryAfterS }),
      shared: undefined,
      addressKey: limitKey(address),
      exempt: false,
      isTold,
      pipe: (socket) => (isTold ? socket : new PlainOnlyPipe(socket, this.#replies)),
      refund: () => this.#keeper.tell("refund", connection),
      release: () => {
        if (!released) this.#keeper.tell("release", connection);
        released = true;
      },
    };
  }
}

function gateOf(admission: Admission, allowWrongCancel: () => boolean | Promise<boolean>): Gate {
  return { admit: () => admission, allowWrongCancel };
}
