/** Run by log.test.ts on each runtime: 200 events, then the process ends by itself. */
import { createLog } from "../../gateway/log.ts";

const log = createLog({ level: "info", format: "json" });
for (let number = 0; number < 200; number++) log.write("info", "event", { number, padding: "x".repeat(500) });
