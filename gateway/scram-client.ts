/** node-postgres for servers of the operator's: a password is proven by SCRAM or not at all, and the server has to prove that it knows it too. */
import pg from "pg";

declare module "pg" {
  // Where node-postgres answers the server; not in its types. test/gateway/scram-client.test.ts notices should a version of it do so elsewhere.
  interface Client {
    _handleAuthCleartextPassword(message: unknown): void;
    _handleAuthMD5Password(message: unknown): void;
    _handleAuthSASL(message: unknown): void;
    _handleAuthSASLFinal(message: unknown): void;
    _handleReadyForQuery(message: unknown): void;
    /** The exchange under way; null once the server's signature was verified. */
    saslSession?: object | null;
  }
}

/** A server that asks for no password at all is taken at its word: that is its operator's decision, and gives nothing away. */
export class ScramClient extends pg.Client {
  #isAsked = false;
  #isProven = false;
  #isRefused = false;

  override _handleAuthCleartextPassword(): void {
    this.#refuse(weakerThanScram("in clear"));
  }

  override _handleAuthMD5Password(): void {
    this.#refuse(weakerThanScram("as MD5"));
  }

  override _handleAuthSASL(message: unknown): void {
    this.#isAsked = true;
    super._handleAuthSASL(message);
  }

  override _handleAuthSASLFinal(message: unknown): void {
    super._handleAuthSASLFinal(message);
    this.#isProven = this.saslSession === null;
  }

  /** node-postgres itself lets a server leave out its half of the proof. */
  override _handleReadyForQuery(message: unknown): void {
    if (this.#isRefused) return; // it came in the same packet
    if (this.#isAsked && !this.#isProven) this.#refuse("the database server did not prove that it knows the password");
    else super._handleReadyForQuery(message);
  }

  #refuse(reason: string): void {
    this.#isRefused = true;
    this.connection.emit("error", new Error(reason));
    this.connection.stream.destroy();
  }
}

function weakerThanScram(how: string): string {
  return `the database server asks for the password ${how}, and only SCRAM-SHA-256 is answered: set password_encryption = 'scram-sha-256' there, set the role's password again, and let pg_hba.conf say scram-sha-256`;
}
