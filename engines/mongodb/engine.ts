/** The MongoDB listener: TLS from the first byte or none, login, and for everything about data the way to where the data is. */
import type { RedirectEngine, Visit } from "../../core/doorman.ts";
import { openDoor } from "../foreign/door.ts";
import { Channel } from "./channel.ts";
import { Conversation } from "./conversation.ts";
import { type Watcher, type WatcherLimits, Watchers, watcherLimits } from "./watchers.ts";

/** Connection ids are int32 and never 0. */
const maxConnectionId = 0x7fff_ffff;

export function createMongoEngine(limits: WatcherLimits = watcherLimits): RedirectEngine {
  const watchers = new Watchers(limits);
  let connections = 0;
  return {
    name: "MongoDB",
    async serve(socket, visit) {
      const reader = await openDoor(socket, visit);
      if (!reader) return; // a client of another protocol, which has been answered
      connections = (connections % maxConnectionId) + 1;
      const watcher = watchers.open((reason) => visit.dismiss(reason));
      try {
        await converse(new Channel(reader), new Conversation(visit, reader.pipe, connections), visit, watcher);
      } finally {
        watcher.leave();
      }
    },
  };
}

/** One command after another until the client leaves, is dismissed, or fails to log in. */
async function converse(channel: Channel, conversation: Conversation, visit: Visit, watcher: Watcher): Promise<void> {
  for (;;) {
    const request = await channel.receive(conversation.isLoggedIn);
    const { document, end } = await conversation.answer(request);
    if (end !== undefined) {
      channel.end(request, document);
      throw end;
    }
    if (conversation.isLoggedIn) watcher.leave();
    else watcher.heard(visit.clock.nowMs());
    await channel.send(request, document);
  }
}
