/**
 * Which of a session's prepared statements and portals write, as the backend has them: changed by what it confirms, never by what a client
 * sends. A Parse that fails leaves the old statement of its name in place, whose rows are then not those of the new one.
 */

/** Statements and portals remembered, each; of those beyond, none is taken to write. */
const maxNames = 10_000;

/** A statement of SQL that names a prepared statement or portal; no `name`: all of them, or one that cannot be read. */
export interface NamingStatement {
  readonly verb: "PREPARE" | "EXECUTE" | "DEALLOCATE" | "DECLARE" | "CLOSE" | "DISCARD";
  readonly name: string | undefined;
  /** PREPARE: the statement it prepares. */
  readonly writes: boolean;
}

/** What one statement does: whether it writes, or what it does to others. */
export type Deed = boolean | NamingStatement;

export function isNaming(deed: Deed): boolean {
  return typeof deed !== "boolean";
}

export class StatementKinds {
  // Made once there are any: most sessions have none.
  #statements: Map<string, Deed> | undefined;
  #portals: Map<string, Deed> | undefined;
  /** The portal without a name, which most drivers use for everything. */
  #unnamed: Deed | undefined;
  /** Portals were bound while nobody looked: one that is not known may write. */
  #unread: boolean;

  constructor(from?: StatementKinds) {
    this.#unread = from ? from.#unread : false;
    if (!from) return;
    this.#statements = from.#statements && new Map(from.#statements);
    this.#portals = from.#portals && new Map(from.#portals);
    this.#unnamed = from.#unnamed;
  }

  hasStatement(name: string): boolean {
    return this.#statements?.has(name) ?? false;
  }

  parsed(name: string, deed: Deed): void {
    this.#statements = remember(this.#statements, name, deed);
  }

  bound(portal: string, statement: string): void {
    const deed = this.#statements?.get(statement) ?? false;
    if (portal === "") this.#unnamed = deed;
    else this.#portals = remember(this.#portals, portal, deed);
  }

  /** Of names nobody read: any portal may have been replaced. */
  boundUnread(): void {
    this.#forgetPortals();
    this.#unread = true;
  }

  closed(isStatement: boolean, name: string): void {
    if (!isStatement && name === "") this.#unnamed = undefined;
    else (isStatement ? this.#statements : this.#portals)?.delete(name);
  }

  portal(name: string): Deed {
    return (name === "" ? this.#unnamed : this.#portals?.get(name)) ?? this.#unread;
  }

  writes(deed: Deed): boolean {
    if (typeof deed === "boolean") return deed;
    return deed.verb === "EXECUTE" && deed.name !== undefined && this.#statements?.get(deed.name) === true;
  }

  /** A statement was carried out. */
  done(deed: Deed): void {
    if (typeof deed === "boolean") return;
    const { verb, name, writes } = deed;
    if (verb === "PREPARE" && name !== undefined) this.#prepared(name, writes);
    else if (verb === "PREPARE") this.#statements = undefined;
    else if (verb === "DECLARE" && name !== undefined) this.#portals = remember(this.#portals, name, false);
    else if (verb === "DECLARE") this.#forgetPortals();
    else if (verb === "DEALLOCATE") forget(this.#statements, name);
    else if (verb === "CLOSE") this.#close(name);
    else if (verb === "DISCARD") this.#discard();
  }

  /** Portals end with their transaction; cursors WITH HOLD do not, and only read. */
  transactionEnded(): void {
    this.#forgetPortals();
    this.#unread = false;
  }

  /** A name that is there already can be had twice where a backend is shared: the client's own statements stand under other names there. */
  #prepared(name: string, writes: boolean): void {
    if (!this.#statements?.has(name)) this.#statements = remember(this.#statements, name, writes);
  }

  #close(name: string | undefined): void {
    if (name === undefined) this.#forgetPortals();
    else this.#portals?.delete(name);
  }

  #forgetPortals(): void {
    this.#portals = undefined;
    this.#unnamed = undefined;
  }

  #discard(): void {
    this.#statements = undefined;
    this.transactionEnded();
  }
}

function remember(known: Map<string, Deed> | undefined, name: string, deed: Deed): Map<string, Deed> {
  const map = known ?? new Map<string, Deed>();
  if (map.size < maxNames || map.has(name)) map.set(name, deed);
  return map;
}

function forget(names: Map<string, Deed> | undefined, name: string | undefined): void {
  if (name === undefined) names?.clear();
  else names?.delete(name);
}
