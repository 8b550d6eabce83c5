/** Completes the first TLS record of a connection: Deno's TLS does not accept a part of one that was read before it took over. */

import type { Socket } from "node:net";

const handshakeRecord = 0x16;
const headerBytes = 5;
/** RFC 8446 section 5.2: no plaintext record is longer than 2^14 bytes; a ClientHello is plaintext. */
const maxRecordBytes = 1 << 14;

/** Record type · uint16 version · uint16 length · body. @returns bytes still wanted, 0 when complete, undefined when this is no TLS handshake. */
export function missingOfFirstRecord(bytes: Uint8Array): number | undefined {
  const [type, major, , high, low] = bytes;
  if (type !== undefined && type !== handshakeRecord) return undefined;
  if (major !== undefined && major !== 3) return undefined;
  if (high === undefined || low === undefined) return headerBytes - bytes.length;
  const length = (high << 8) | low;
  if (length > maxRecordBytes) return undefined;
  return Math.max(0, headerBytes + length - bytes.length);
}

/** Reads on until the first record is whole. `socket` is paused before and after. @throws Error when it is no TLS, the peer leaves or the signal aborts. */
export function readFirstRecord(socket: Socket, received: Uint8Array, signal: AbortSignal): Promise<Uint8Array> {
  return new Promise((resolve, reject) => {
    let bytes = received;
    const settle = (act: () => void) => {
      socket.pause();
      socket.off("data", onData);
      socket.off("close", onClose);
      socket.off("end", onClose);
      signal.removeEventListener("abort", onAbort);
      act();
    };
    const advance = () => {
      const missing = missingOfFirstRecord(bytes);
      if (missing === undefined) settle(() => reject(new Error("TLS handshake failed: the first bytes are not a TLS handshake")));
      else if (missing === 0) settle(() => resolve(bytes));
    };
    const onData = (chunk: Uint8Array) => {
      bytes = Buffer.concat([bytes, chunk]);
      advance();
    };
    const onClose = () => settle(() => reject(new Error("TLS handshake failed: the peer left before it was complete")));
    const onAbort = () => settle(() => reject(signal.reason));
    socket.on("data", onData);
    socket.on("close", onClose);
    socket.on("end", onClose);
    signal.addEventListener("abort", onAbort, { once: true });
    if (signal.aborted) onAbort();
    else {
      socket.resume();
      advance();
    }
  });
}
