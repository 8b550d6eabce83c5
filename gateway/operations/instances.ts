/** What instances of one installation ask each other: whose sessions, whose bans. Asked by NOTIFY, answered through a table, waited for briefly. */
import { sql } from "kysely";
import type { Clock } from "../../core/clock.ts";
import type { Log } from "../../core/log.ts";
import type { Store } from "../store/store.ts";

export type Question =
  | { readonly about: "sessions"; readonly projectId: string }
  | { readonly about: "end session"; readonly projectId: string; readonly sessionId: string }
  | { readonly about: "bans" }
  | { readonly about: "lift ban"; readonly address: string };

type Message =
  | { readonly type: "question"; readonly id: string; readonly from: number; readonly question: Question }
  | { readonly type: "answer"; readonly id: string };

export interface InstancesDeps {
  readonly store: Pick<Store, "db" | "presenceKey" | "countInstances" | "onQuestion" | "notifyQuestion">;
  readonly clock: Clock;
  readonly log: Log;
  /** This instance's answer, as JSON can hold it. */
  readonly answer: (question: Question) => unknown;
}

/** Longest an administrator waits for the other instances; one that is busier than that is left out. */
const patienceMs = 1_000;
const leftOverMs = 60_000;

export class Instances {
  readonly #deps: InstancesDeps;
  readonly #unsubscribe: () => void;
  /** Questions of ours: called with each answer. */
  readonly #waiting = new Map<string, () => void>();

  constructor(deps: InstancesDeps) {
    this.#deps = deps;
    this.#unsubscribe = deps.store.onQuestion((payload) => void this.#hear(payload));
  }

  stop(): void {
    this.#unsubscribe();
  }

  /** The answers of all other instances. None where they cannot be asked: what this one knows is told all the same. */
  async ask<T>(question: Question): Promise<readonly T[]> {
    const { store, log } = this.#deps;
    try {
      const others = (await store.countInstances()) - 1;
      return others > 0 ? await this.#askOthers<T>(question, others) : [];
    } catch (error) {
      log.write("warn", "other instances not asked", { about: question.about, error: String(error) });
      return [];
    }
  }

  async #askOthers<T>(question: Question, others: number): Promise<readonly T[]> {
    const { store, clock, log } = this.#deps;
    const id = crypto.randomUUID();
    const done = new AbortController();
    let answers = 0;
    this.#waiting.set(id, () => {
      if (++answers >= others) done.abort();
    });
    try {
      await store.notifyQuestion(JSON.stringify({ type: "question", id, from: store.presenceKey, question } satisfies Message));
      await clock.sleep(patienceMs, done.signal).catch(() => undefined); // rejects when all have answered
    } finally {
      this.#waiting.delete(id);
    }
    if (answers < others) log.write("warn", "an instance did not answer in time", { about: question.about, answers, others });
    const found = await sql<{ answer: T }>`
      with old as (delete from tenantry.instance_answers where question_id <> ${id} and at < ${new Date(clock.wallMs() - leftOverMs)})
      delete from tenantry.instance_answers where question_id = ${id} returning answer`.execute(store.db);
    return found.rows.map((row) => row.answer);
  }

  async #hear(payload: string): Promise<void> {
    const message = parse(payload);
    if (!message) return;
    if (message.type === "answer") {
      this.#waiting.get(message.id)?.();
      return;
    }
    const { store, clock, log, answer } = this.#deps;
    if (message.from === store.presenceKey) return;
    try {
      const text = JSON.stringify(answer(message.question) ?? null);
      await sql`
        insert into tenantry.instance_answers (question_id, instance, answer, at)
        values (${message.id}, ${store.presenceKey}, ${text}::jsonb, ${new Date(clock.wallMs())})`.execute(store.db);
      await store.notifyQuestion(JSON.stringify({ type: "answer", id: message.id } satisfies Message));
    } catch (error) {
      log.write("warn", "another instance not answered", { about: message.question.about, error: String(error) });
    }
  }
}

function parse(payload: string): Message | undefined {
  try {
    return JSON.parse(payload) as Message;
  } catch {
    return undefined; // another program on the same channel
  }
}
