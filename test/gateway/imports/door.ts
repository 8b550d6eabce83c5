/** TCP in front of a Unix socket, which can be shut in the middle of an answer. */
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";

export interface Door {
  readonly port: number;
  /** Lets this many more bytes of answers through, then cuts every connection and takes no more until `open`. */
  shutAfter(bytes: number): void;
  /** Lets this many more bytes through, and then nothing of connections that stay as they are; new ones come in after `open`. */
  silenceAfter(bytes: number): void;
  readonly isSilent: boolean;
  open(): void;
  readonly isShut: boolean;
  close(): Promise<void>;
}

export async function openDoor(socketPath: string): Promise<Door> {
  const sockets = new Set<Socket>();
  let left = Number.POSITIVE_INFINITY;
  let untilSilent = Number.POSITIVE_INFINITY;
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  const server: Server = createServer((client) => {
    if (left <= 0) return void client.destroy();
    const inside = connect(socketPath);
    for (const socket of [client, inside]) {
      sockets.add(socket);
      socket.on("error", () => undefined);
      socket.on("close", () => {
        sockets.delete(socket);
        client.destroy();
        inside.destroy();
      });
    }
    client.pipe(inside);
    inside.on("data", (chunk) => {
      left -= chunk.length;
      if (left <= 0) return cut();
      untilSilent -= chunk.length;
      if (untilSilent <= 0) return void inside.pause();
      if (!client.write(chunk)) {
        inside.pause();
        client.once("drain", () => inside.resume());
      }
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as { port: number }).port,
    shutAfter(count) {
      left = count;
      if (left <= 0) cut();
    },
    silenceAfter(count) {
      untilSilent = count;
    },
    open() {
      left = Number.POSITIVE_INFINITY;
      untilSilent = Number.POSITIVE_INFINITY;
    },
    get isSilent() {
      return untilSilent <= 0;
    },
    get isShut() {
      return left <= 0;
    },
    async close() {
      cut();
      server.close();
      await once(server, "close");
    },
  };
}
