/** `tdb` as a single executable: `bun build --compile` and `deno compile` follow imports that are spelled out, which bin/tdb.js has none of. */
import process from "node:process";
import { main } from "../api/cli/main.ts";
import { setBuiltInVersion } from "../api/package-version.ts";
import manifest from "../package.json" with { type: "json" };

setBuiltInVersion(manifest.version);
await main(process.argv.slice(2), {
  up: async (args) => (await import("../gateway/main.ts")).runUp(args),
  worker: async () => (await import("../gateway/workers/worker.ts")).runWorker(),
  "master-key": async (args) => (await import("../gateway/master-key-command.ts")).runMasterKey(args),
});
