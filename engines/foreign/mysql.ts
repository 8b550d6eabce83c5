/** MySQL's ERR packet, in place of a greeting or of an answer to one. */
const encoder = new TextEncoder();

/** ER_HANDSHAKE_ERROR. */
export const mysqlBadHandshake = 1043;

/**
 * uint24 length · uint8 sequence · 0xff · uint16 code · text. Without an SQLSTATE, since no capabilities have been agreed upon: a client would
 * show it as text.
 */
export function encodeMysqlError(sequence: number, code: number, text: string): Uint8Array {
  const message = encoder.encode(text).subarray(0, 512);
  const packet = new Uint8Array(7 + message.length);
  packet[0] = 3 + message.length;
  packet[1] = (3 + message.length) >>> 8;
  packet[3] = sequence;
  packet[4] = 0xff;
  packet[5] = code;
  packet[6] = code >>> 8;
  packet.set(message, 7);
  return packet;
}
