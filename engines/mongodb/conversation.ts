/** Answers one client's commands: what drivers ask before and around a login in full, everything that is about data with the verdict. */
import type { Document } from "bson";
import type { BytePipe } from "../../core/byte-pipe.ts";
import type { Visit } from "../../core/doorman.ts";
import { GatewayError } from "../../core/errors.ts";
import type { Identity } from "../../core/identity.ts";
import { parseDatabaseName } from "../../core/scope.ts";
import { describeBuild, describeServer } from "./describe.ts";
import { failure, printable, refuse, toGatewayError } from "./replies.ts";
import { assertWelcome, mechanismUnavailable, offeredMechanisms, Sasl } from "./sasl.ts";
import { isDocument, type Request } from "./wire.ts";

export interface Answer {
  readonly document: Document;
  /** Set when the connection is to be closed behind the answer, and why. */
  readonly end?: unknown;
}

export class Conversation {
  readonly #visit: Visit;
  readonly #client: BytePipe;
  readonly #connectionId: number;
  readonly #sasl: Sasl;
  #noted = "";

  constructor(visit: Visit, client: BytePipe, connectionId: number) {
    this.#visit = visit;
    this.#client = client;
    this.#connectionId = connectionId;
    this.#sasl = new Sasl(visit, client);
  }

  get isLoggedIn(): boolean {
    return this.#sasl.identity !== undefined;
  }

  async answer(request: Request): Promise<Answer> {
    try {
      const open = await this.#answerOpen(request);
      return open ?? { document: await this.#answerCommand(request) };
    } catch (error) {
      return { document: refuse(toGatewayError(error, this.#visit.id), "command"), end: error };
    }
  }

  /** Commands that need no login. Hello never tells an error: drivers would not show it, but look for another server until they give up. */
  async #answerOpen({ name, database, body }: Request): Promise<Answer | undefined> {
    switch (name) {
      case "hello":
      case "isMaster":
      case "ismaster":
        return { document: await this.#sayHello(name, body) };
      case "saslStart":
        return await this.#logIn(() => this.#sasl.start(body, database));
      case "saslContinue":
        return await this.#logIn(() => this.#sasl.continue(body));
      case "authenticate":
        return { document: refuse(mechanismUnavailable(), "login") };
      case "logout":
        this.#sasl.logOut();
        return { document: { ok: 1 } };
      case "buildInfo":
      case "buildinfo":
        return { document: describeBuild() };
      case "endSessions":
        return { document: { ok: 1 } };
      case "ping":
        // On a database of ours, a proven client is told what it would be told there.
        return this.isLoggedIn && parseDatabaseName(database) ? undefined : { document: { ok: 1 } };
      default:
        return undefined;
    }
  }

  async #sayHello(name: string, body: Document): Promise<Document> {
    const isLegacy = name !== "hello";
    const reply = describeServer(this.#connectionId, new Date(this.#visit.clock.wallMs()), isLegacy);
    if (isLegacy && body.helloOk === true) reply.helloOk = true;
    const asksForLogin = body.saslSupportedMechs !== undefined || body.speculativeAuthenticate !== undefined;
    if (body.saslSupportedMechs !== undefined) reply.saslSupportedMechs = [...offeredMechanisms];
    const started = isDocument(body.speculativeAuthenticate) ? await this.#sasl.speculate(body.speculativeAuthenticate) : undefined;
    if (started) reply.speculativeAuthenticate = started;
    // Monitoring connections never log in, so the login deadline is not theirs; see watchers.ts for what bounds them.
    if (!asksForLogin) this.#visit.loggedIn();
    return reply;
  }

  /** A login that fails ends the connection: one guess each, counted at the door. */
  async #logIn(work: () => Promise<Document>): Promise<Answer> {
    try {
      return { document: await work() };
    } catch (error) {
      return { document: refuse(toGatewayError(error, this.#visit.id), "login"), end: error };
    }
  }

  async #answerCommand(request: Request): Promise<Document> {
    const { identity } = this.#sasl;
    if (identity) return this.#answerAdmin(request, identity) ?? (await this.#tellVerdict(identity, request.database));
    try {
      assertWelcome(this.#visit, this.#client);
    } catch (error) {
      if (error instanceof GatewayError) return refuse(error, "command");
      throw error;
    }
    return failure(13, `command ${printable(request.name)} requires authentication`);
  }

  /** What shells and tools ask a server after a login, to show that they are connected. */
  #answerAdmin({ name }: Request, identity: Identity): Promise<Document> | Document | undefined {
    switch (name) {
      case "listDatabases":
        return this.#listDatabases(identity);
      case "connectionStatus":
        return { authInfo: { authenticatedUsers: [{ user: identity.projectId, db: identity.databaseName }], authenticatedUserRoles: [] }, ok: 1 };
      case "getParameter":
      case "startSession":
      case "refreshSessions":
      case "killSessions":
        return { ok: 1 };
      default:
        return undefined;
    }
  }

  async #listDatabases(identity: Identity): Promise<Document> {
    const names = await this.#visit.listDatabases(identity);
    return { databases: names.map((name) => ({ name, sizeOnDisk: 0, empty: false })), totalSize: 0, ok: 1 };
  }

  async #tellVerdict(identity: Identity, database: string): Promise<Document> {
    const verdict = await this.#visit.findVerdict(identity, database);
    // Shells ask the admin database this and that, and do not mind the answer.
    if (database !== "admin" && verdict.message !== this.#noted) {
      this.#noted = verdict.message;
      this.#visit.note("command refused", verdict.message);
    }
    return refuse(verdict, "command");
  }
}
