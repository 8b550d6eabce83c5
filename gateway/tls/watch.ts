/** Serves a changed certificate without a restart; a broken or half-written one changes nothing but the log. */

import type { Clock } from "../../core/clock.ts";
import type { Log } from "../../core/log.ts";
import type { ReloadableTlsServer } from "../runtime/runtime.ts";
import type { PemPair } from "./issue.ts";

export interface WatchOptions {
  /** `loadCertificates` or `ensureCertificates` with their options: the latter also renews what is near its expiry. */
  load(): Promise<PemPair>;
  /** What `server` presents now. */
  readonly current: PemPair;
  readonly server: ReloadableTlsServer;
  readonly clock: Clock;
  readonly log: Log;
  readonly intervalMs?: number;
}

export interface CertificateWatch {
  /** Looks now, as SIGHUP asks for; resolves when the answer is served or logged. */
  check(): Promise<void>;
  stop(): void;
}

const defaultIntervalMs = 5000;

export function watchCertificates(options: WatchOptions): CertificateWatch {
  const { load, server, clock, log, intervalMs = defaultIntervalMs } = options;
  let current = options.current;
  let lastFailure: string | undefined;
  let running: Promise<void> | undefined;

  const look = async () => {
    try {
      const next = await load();
      if (next.certPem !== current.certPem || next.keyPem !== current.keyPem) {
        server.reload({ key: next.keyPem, cert: next.certPem });
        current = { certPem: next.certPem, keyPem: next.keyPem };
        log.write("info", "certificate reloaded");
      }
      lastFailure = undefined;
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      // Once per kind of failure, not every few seconds.
      if (reason !== lastFailure) log.write("warn", "certificate not reloaded, the old one stays in use", { reason });
      lastFailure = reason;
    }
  };
  const check = () => {
    running ??= look().finally(() => {
      running = undefined;
    });
    return running;
  };
  const stop = clock.every(intervalMs, () => void check());
  return { check, stop };
}
