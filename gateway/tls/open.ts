/** The certificate that is served: by file where configured, else our own; watched, since both are renewed under a running gateway. */
import { resolve } from "node:path";
import type { Clock } from "../../core/clock.ts";
import type { Config } from "../../core/config.ts";
import type { Log } from "../../core/log.ts";
import type { Cleanup } from "../cleanup.ts";
import type { Runtime } from "../runtime/runtime.ts";
import { StartupError } from "../startup-error.ts";
import { ensureCertificates, loadCertificates } from "./certificates.ts";
import { type CertificateWatch, watchCertificates } from "./watch.ts";
import { createWireTls, type WireTls } from "./wire-tls.ts";

export interface OpenTlsDeps {
  readonly config: Config;
  /** As of the last reload. */
  readonly inForce: () => Config;
  readonly runtime: Runtime;
  readonly clock: Clock;
  readonly log: Log;
  readonly dataDir: string;
  /** False where another process makes and renews our own, and this one only reads it. */
  readonly makes: boolean;
  /** What the processes that share a port have in common, so that one resumes the sessions another began. */
  readonly ticketSeed?: Uint8Array | undefined;
}

/** @throws {StartupError} */
export async function openTls(deps: OpenTlsDeps, cleanup: Cleanup): Promise<{ tls: WireTls; watch: CertificateWatch; caFile: string | undefined }> {
  const { config, inForce, runtime, clock, log } = deps;
  const names = [config.public_host, ...config["tls.names"]];
  const dir = resolve(deps.dataDir, "tls");
  const load = () => {
    const { "tls.cert_file": certFile, "tls.key_file": keyFile } = inForce();
    if (certFile && keyFile) return loadCertificates({ certFile, keyFile });
    if (!deps.makes) return loadCertificates({ certFile: resolve(dir, "server.crt"), keyFile: resolve(dir, "server.key") });
    return ensureCertificates({ dir, names, clock });
  };
  try {
    const current = await load();
    const tls = createWireTls(runtime, current, { asksCertificate: config["tls.client_certificates"], ticketSeed: deps.ticketSeed });
    const watch = watchCertificates({ load, current, server: tls.server, clock, log });
    cleanup.add("certificate watch", () => watch.stop());
    return { tls, watch, caFile: current.caFile };
  } catch (error) {
    throw new StartupError(config["tls.cert_file"] ? "tls.cert_file" : "--data-dir", (error as Error).message, error);
  }
}
