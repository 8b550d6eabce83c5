/** A load balancer in a few lines: forwards TCP with a PROXY protocol header in front, from a loopback address of its own. */
import { once } from "node:events";
import { connect, createServer, type Socket } from "node:net";

export interface Balancer {
  readonly port: number;
  /** What it puts in front of the next connections. */
  header: Uint8Array;
  close(): Promise<void>;
}

/** Balancers of these tests connect from here. */
export const balancerAddress = "127.0.0.2";

/** `glued`: the header goes out in one write with the client's first bytes; else at once. */
export async function startBalancer(to: number, glued: boolean): Promise<Balancer> {
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const gateway = connect({ host: "127.0.0.1", port: to, localAddress: balancerAddress });
    const { header } = balancer;
    for (const socket of [client, gateway]) {
      sockets.add(socket);
      socket.on("error", () => undefined);
      socket.on("close", () => sockets.delete(socket));
    }
    gateway.pipe(client);
    if (!glued) {
      gateway.write(header);
      client.pipe(gateway);
      return;
    }
    client.once("data", (first) => {
      gateway.write(Buffer.concat([header, first as Buffer]));
      client.pipe(gateway);
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const balancer = {
    port: (server.address() as { port: number }).port,
    header: new Uint8Array(0) as Uint8Array,
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
  return balancer;
}

export function textHeader(source: string): Buffer {
  return Buffer.from(`PROXY TCP4 ${source} 10.0.0.1 50001 5432\r\n`);
}

const signature = Buffer.from("0d0a0d0a000d0a515549540a", "hex");

/** Version 2, with a TLV behind the addresses. */
export function binaryHeader(source: string): Buffer {
  const addresses = Buffer.from([...source.split(".").map(Number), 10, 0, 0, 1, 0xc3, 0x51, 0x15, 0x38]);
  const tlv = Buffer.from([0x02, 0, 3, 0x61, 0x62, 0x63]);
  const length = addresses.length + tlv.length;
  return Buffer.concat([signature, Buffer.from([0x21, 0x11, length >> 8, length & 255]), addresses, tlv]);
}

/** Version 2: the balancer's own connection. */
export const localHeader: Buffer = Buffer.concat([signature, Buffer.from([0x20, 0, 0, 0])]);

/** Everything a peer answers until it closes, or until `enough`. */
export async function exchange(
  port: number,
  bytes: Uint8Array,
  localAddress: string,
  enough: (text: string) => boolean = () => false,
): Promise<string> {
  const socket = connect({ host: "127.0.0.1", port, localAddress });
  socket.on("error", () => undefined);
  socket.write(bytes);
  let text = "";
  await new Promise<void>((over) => {
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1");
      if (enough(text)) over();
    });
    socket.on("close", () => over());
  });
  socket.destroy();
  return text;
}
