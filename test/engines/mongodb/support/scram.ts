/** The client's side of SCRAM-SHA-256 with a user name, after RFC 5802 and RFC 7677, by node's own crypto. */
import { createHash, createHmac, pbkdf2Sync, randomBytes } from "node:crypto";

const hmac = (key: Buffer, text: string) => createHmac("sha256", key).update(text).digest();

export class ScramUser {
  readonly #password: string;
  readonly #bare: string;
  #signature = "";

  constructor(user: string, password: string) {
    this.#password = password;
    this.#bare = `n=${user.replaceAll("=", "=3D").replaceAll(",", "=2C")},r=${randomBytes(24).toString("base64")}`;
  }

  get first(): string {
    return `n,,${this.#bare}`;
  }

  /** client-final-message. */
  answer(serverFirst: string): string {
    const [, nonce, salt, iterations] = /^r=([^,]+),s=([^,]+),i=(\d+)$/.exec(serverFirst) ?? [];
    const salted = pbkdf2Sync(this.#password, Buffer.from(String(salt), "base64"), Number(iterations), 32, "sha256");
    const clientKey = hmac(salted, "Client Key");
    const storedKey = createHash("sha256").update(clientKey).digest();
    const withoutProof = `c=biws,r=${nonce}`;
    const authMessage = `${this.#bare},${serverFirst},${withoutProof}`;
    const signature = hmac(storedKey, authMessage);
    this.#signature = hmac(hmac(salted, "Server Key"), authMessage).toString("base64");
    return `${withoutProof},p=${Buffer.from(clientKey.map((byte, i) => byte ^ signature[i]!)).toString("base64")}`;
  }

  /** Whether the server knows the password too. */
  trusts(serverFinal: string): boolean {
    return serverFinal === `v=${this.#signature}`;
  }
}
