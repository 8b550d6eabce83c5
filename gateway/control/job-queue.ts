/**
 * A job queue: pg-boss in schema `tenantry_jobs` of the control database. A job says "this blueprint has deployments to run", "this
 * import is open"; which, and how far they are, is in the store. So a job lost or delivered twice does no harm: the sweep sends another, the claim lets one work.
 */
import { CompiledQuery, type Kysely } from "kysely";
import PgBoss from "pg-boss";
import type { Tables } from "../store/schema.ts";
import type { ControlContext } from "./context.ts";

const jobsSchema = "tenantry_jobs";

interface JobData {
  /** What there is work for: a workspace's id, an import's. */
  readonly subject: string;
}

/** Does what a job asks for; when it resolves the job is done. */
export type JobHandler = (subject: string) => Promise<void>;

export interface QueueOptions {
  readonly name: string;
  /** Jobs one instance works on at a time. */
  readonly atOnce: number;
}

/** What of the control plane it works with. */
type QueueContext = Pick<ControlContext, "store" | "clock" | "background" | "log">;

export class JobQueue {
  readonly #context: QueueContext;
  readonly #queue: QueueOptions;
  readonly #boss: PgBoss;
  readonly #handler: JobHandler;
  #running = 0;
  #started = false;
  #stopPolling: (() => void) | undefined;

  constructor(context: QueueContext, handler: JobHandler, queue: QueueOptions) {
    this.#context = context;
    this.#queue = queue;
    this.#handler = handler;
    const executeSql = (text: string, values: readonly unknown[]) => context.store.executeSql(text, values);
    // Jobs are fetched here instead of by `work`, whose completions nobody awaits: one failing while the store is away would end the process.
    this.#boss = new PgBoss({ db: { executeSql }, schema: jobsSchema, schedule: false, supervise: true, maintenanceIntervalSeconds: 60 });
    this.#boss.on("error", (error) => context.log.write("warn", "job queue error", { reason: error.message }));
  }

  /** Makes the queue's tables where they are missing, then takes jobs. */
  async start(): Promise<void> {
    await this.#context.store.withLock("job-queue", "exclusive", async () => {
      await this.#boss.start();
      const { name } = this.#queue;
      // "short": at most one job of a subject waits; one more can be at work meanwhile.
      await this.#boss.createQueue(name, { name, policy: "short", retryLimit: 1, expireInSeconds: 3_600 });
    });
    this.#started = true;
    this.#stopPolling = this.#context.clock.every(1_000, () => this.wake());
    this.wake();
  }

  async stop(): Promise<void> {
    this.#started = false;
    this.#stopPolling?.();
    await this.#boss.stop({ graceful: false });
  }

  /** Puts a job in, with the rows it is about. Before the start nothing is sent; the first sweep sees to it. */
  async send(trx: Kysely<Tables>, subject: string): Promise<void> {
    if (!this.#started) return;
    const db: PgBoss.Db = {
      async executeSql(text, values) {
        return { rows: (await trx.executeQuery(CompiledQuery.raw(text, values))).rows };
      },
    };
    const data: JobData = { subject };
    await this.#boss.send(this.#queue.name, data, { singletonKey: subject, db });
  }

  /** Looks for a job now. */
  wake(): void {
    if (!this.#started) return;
    this.#context.background.runOnce(`taking jobs of ${this.#queue.name}`, () => this.#take());
  }

  async #take(): Promise<void> {
    while (this.#started && this.#running < this.#queue.atOnce) {
      const [job] = await this.#boss.fetch<JobData>(this.#queue.name);
      if (!job) return;
      this.#running++;
      this.#context.background.run("running a job", () => this.#work(job));
    }
  }

  async #work(job: PgBoss.Job<JobData>): Promise<void> {
    try {
      await this.#handler(job.data.subject);
      await this.#boss.complete(this.#queue.name, job.id);
    } catch (error) {
      await this.#boss.fail(this.#queue.name, job.id, { message: error instanceof Error ? error.message : String(error) });
      throw error;
    } finally {
      this.#running--;
      this.wake();
    }
  }
}
