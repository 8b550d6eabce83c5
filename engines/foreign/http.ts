/** HTTP/1.1, as much as a web client needs to show a sentence. */
const encoder = new TextEncoder();

export function encodeBadRequest(text: string): Uint8Array {
  const body = encoder.encode(`${text}\n`);
  const head = [
    "HTTP/1.1 400 Bad Request",
    "Content-Type: text/plain; charset=utf-8",
    `Content-Length: ${body.length}`,
    "Cache-Control: no-store",
    "X-Content-Type-Options: nosniff",
    "Connection: close",
  ];
  const start = encoder.encode(`${head.join("\r\n")}\r\n\r\n`);
  const message = new Uint8Array(start.length + body.length);
  message.set(start);
  message.set(body, start.length);
  return message;
}
