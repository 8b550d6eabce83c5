/** Answers that are waited for only so long: one sweep gives them up, because a timer for each would cost more than the rest. */
import type { Clock } from "./clock.ts";
import { LinkedList, ListNode } from "./linked-list.ts";

interface Awaited {
  readonly sinceMs: number;
  readonly giveUp: () => void;
}

/** Questions whose answer counts as a no after `timeoutMs`. */
export class AnswersInTime {
  readonly #clock: Pick<Clock, "nowMs">;
  readonly #timeoutMs: number;
  /** Longest under way first. */
  readonly #awaited = new LinkedList<Awaited>();

  constructor(clock: Pick<Clock, "nowMs">, timeoutMs: number) {
    this.#clock = clock;
    this.#timeoutMs = timeoutMs;
  }

  /** @returns the answer, or false once it has taken too long. @throws what the question throws. */
  wait(asked: Promise<boolean>): Promise<boolean> {
    return new Promise<boolean>((resolve, reject) => {
      const giveUp = () => {
        this.#awaited.remove(node);
        resolve(false);
      };
      const node = new ListNode<Awaited>({ sinceMs: this.#clock.nowMs(), giveUp });
      this.#awaited.push(node);
      const ended = () => this.#awaited.remove(node);
      asked.then(resolve, reject).finally(ended);
    });
  }

  sweep(nowMs: number): void {
    for (const { sinceMs, giveUp } of this.#awaited) {
      if (nowMs - sinceMs < this.#timeoutMs) break;
      giveUp();
    }
  }

  /** Nothing sweeps any more. */
  giveUpAll(): void {
    for (const { giveUp } of this.#awaited) giveUp();
  }
}
