/** What every measurement gets: the server, the runtimes asked for, how thorough to be, and the contenders kept running between measurements. */

import type { OsUser } from "../gateway/embedded/process.ts";
import type { CrowdSize } from "./measure/tenants-many.ts";
import { type Contenders, startContenders } from "./stage/contenders.ts";
import type { PoolMode, RuntimeName } from "./stage/gateway.ts";
import type { PostgresServer } from "./stage/postgres.ts";

export interface Context {
  readonly dir: string;
  readonly server: PostgresServer;
  readonly user: OsUser | undefined;
  readonly runtimes: readonly RuntimeName[];
  readonly quick: boolean;
  /** How often each contender takes its turn; undefined: as often as the measurement thinks right. */
  readonly rounds: number | undefined;
  readonly poolMode: PoolMode;
  /** Another PgBouncer to compare with, beside the installed one. */
  readonly pgbouncerBin: string | undefined;
  /** PgBouncer once more, with TCP on both sides. */
  readonly pgbouncerTcp: boolean;
  /** A relay without a gateway under each runtime. */
  readonly bareRelays: boolean;
  /** Tenants of the fleet measurement; undefined: as many as quick or full runs have. */
  readonly fleet: number | undefined;
  /** Sizes of the measurement with many tenants; undefined: as quick or full runs have. */
  readonly crowd: CrowdSize | undefined;
  /** Tells how far it is. */
  say(text: string): void;
  /** Started when first asked for. */
  contenders(): Promise<Contenders>;
  stopContenders(): Promise<void>;
}

export function createContext(parts: Omit<Context, "contenders" | "stopContenders">): Context {
  let started: Promise<Contenders> | undefined;
  return {
    ...parts,
    contenders() {
      started ??= startContenders(parts);
      return started;
    },
    async stopContenders() {
      const running = await started?.catch(() => undefined); // what failed to start has stopped itself
      started = undefined;
      await running?.stop();
    },
  };
}
