/** MySQL's listener: authenticates, tells where the database is, and answers what clients ask without one. */
import type { RedirectEngine } from "../../core/doorman.ts";
import { PipeClosedError } from "../../core/pipe-reader.ts";
import { answerEarlyClient } from "../foreign/door.ts";
import { Channel } from "./channel.ts";
import { answerCommands } from "./commands.ts";
import { logIn } from "./login.ts";
import { encodeRefusal } from "./refusal.ts";

export function createMysqlEngine(): RedirectEngine {
  let connections = 0;
  return {
    name: "MySQL",
    async serve(socket, visit) {
      connections = (connections + 1) >>> 0;
      const threadId = connections;
      const channel = new Channel(socket, visit.signal);
      if (await answerEarlyClient(channel.reader, visit)) return;
      let loggedIn = false;
      try {
        const { identity, database } = await logIn(channel, visit, threadId);
        // In place of the last OK: there every client shows it as the reason why it could not connect.
        if (database !== "") throw await visit.findVerdict(identity, database);
        loggedIn = true;
        visit.loggedIn();
        await answerCommands(channel, visit, { identity, threadId });
      } catch (error) {
        if (!(error instanceof PipeClosedError)) channel.end(encodeRefusal(error, visit.id), loggedIn);
        throw error;
      }
    },
  };
}
