/** What a database costs to reach, measured where this process runs: latency of one client, transactions and connections a second of several. */

/** One connection, as far as measuring needs it. */
export interface BenchClient {
  /** Sends the statement and waits for all of its answer. */
  ask(): Promise<unknown>;
  end(): Promise<void>;
}

/** A way to the database. */
export interface BenchWay {
  readonly name: string;
  connect(): Promise<BenchClient>;
}

export interface BenchPlan {
  readonly clients: number;
  /** Of each of the three measurements of a round. */
  readonly seconds: number;
  readonly rounds: number;
}

/** Medians of the rounds. */
export interface BenchResult {
  readonly through: string;
  readonly latency_p50_ms: number;
  readonly latency_p99_ms: number;
  readonly transactions_per_s: number;
  readonly connections_per_s: number;
}

/** Logins cost the client more than the server; more at a time would measure this process. */
const connectingAtOnce = 4;

type Round = Omit<BenchResult, "through">;

/** Ways take turns, and each round begins with another one, so that a machine that is slower for a while is slower for all. */
export async function runBench(
  ways: readonly BenchWay[],
  plan: BenchPlan,
  nowMs: () => number,
  say: (text: string) => void,
): Promise<readonly BenchResult[]> {
  const rounds = new Map<BenchWay, Round[]>(ways.map((way) => [way, []]));
  for (let round = 0; round < plan.rounds; round++) {
    for (let i = 0; i < ways.length; i++) {
      const way = ways[(i + round) % ways.length]!;
      say(`round ${round + 1} of ${plan.rounds}: ${way.name}`);
      rounds.get(way)!.push(await measureOnce(way, plan, nowMs));
    }
  }
  return ways.map((way) => ({ through: way.name, ...medians(rounds.get(way)!) }));
}

async function measureOnce(way: BenchWay, plan: BenchPlan, nowMs: () => number): Promise<Round> {
  const ms = plan.seconds * 1000;
  const alone = (await askRepeatedly(way, 1, ms, nowMs)).latenciesMs.sort((a, b) => a - b);
  const together = await askRepeatedly(way, plan.clients, ms, nowMs);
  return {
    latency_p50_ms: percentile(alone, 0.5),
    latency_p99_ms: percentile(alone, 0.99),
    transactions_per_s: together.latenciesMs.length / (together.tookMs / 1000),
    connections_per_s: await connectRepeatedly(way, Math.min(plan.clients, connectingAtOnce), ms, nowMs),
  };
}

/** All are connected and have asked once before time counts. */
async function askRepeatedly(way: BenchWay, clients: number, ms: number, nowMs: () => number): Promise<{ latenciesMs: number[]; tookMs: number }> {
  const latenciesMs: number[] = [];
  const open = await connectAll(way, clients);
  try {
    await Promise.all(open.map((client) => client.ask()));
    const beganMs = nowMs();
    const lane = async (client: BenchClient) => {
      for (let at = nowMs(); at < beganMs + ms; ) {
        await client.ask();
        const done = nowMs();
        latenciesMs.push(done - at);
        at = done;
      }
    };
    await Promise.all(open.map(lane));
    return { latenciesMs, tookMs: nowMs() - beganMs };
  } finally {
    await Promise.all(open.map((client) => client.end()));
  }
}

/** @throws what the first that failed said; the others are closed then. */
async function connectAll(way: BenchWay, count: number): Promise<BenchClient[]> {
  const open: BenchClient[] = [];
  try {
    while (open.length < count) {
      const more = await Promise.allSettled(Array.from({ length: Math.min(connectingAtOnce, count - open.length) }, () => way.connect()));
      open.push(...more.flatMap((each) => (each.status === "fulfilled" ? [each.value] : [])));
      const failed = more.find((each) => each.status === "rejected");
      if (failed) throw failed.reason;
    }
    return open;
  } catch (error) {
    await Promise.all(open.map((client) => client.end()));
    throw error;
  }
}

/** Connect, log in, ask once, leave. @returns how many a second. */
async function connectRepeatedly(way: BenchWay, lanes: number, ms: number, nowMs: () => number): Promise<number> {
  let count = 0;
  const beganMs = nowMs();
  const lane = async () => {
    while (nowMs() < beganMs + ms) {
      const client = await way.connect();
      await client.ask().finally(() => client.end());
      count++;
    }
  };
  await Promise.all(Array.from({ length: lanes }, lane));
  return count / ((nowMs() - beganMs) / 1000);
}

function medians(rounds: readonly Round[]): Round {
  const of = (name: keyof Round) =>
    percentile(
      rounds.map((round) => round[name]).sort((a, b) => a - b),
      0.5,
    );
  return {
    latency_p50_ms: of("latency_p50_ms"),
    latency_p99_ms: of("latency_p99_ms"),
    transactions_per_s: of("transactions_per_s"),
    connections_per_s: of("connections_per_s"),
  };
}

function percentile(sorted: readonly number[], part: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * part))] ?? 0;
}
