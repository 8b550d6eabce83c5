/** A scripted MySQL client at an in-memory listener; its "TLS" is the bytes as they are. */
import { pipePair, type TlsServerContext } from "../../../../core/byte-pipe.ts";
import { type DoormanDeps, runVisit } from "../../../../core/doorman.ts";
import type { GatewayError } from "../../../../core/errors.ts";
import { createMysqlEngine } from "../../../../engines/mysql/engine.ts";
import { settle } from "../../postgres/support/wire.ts";
import { makeCredential, makeTarget, projectId } from "../../postgres/support/world.ts";
import { Caller, type DoorOptions, DoorWorld } from "../../support/door-world.ts";
import { SecuredPipe } from "../../support/secured-pipe.ts";
import { type ErrorPacket, type Packet, packet, type ResponseFields, readError, responseBody, splitPackets, sslRequest } from "./wire.ts";

const context: TlsServerContext = { kind: "tls-server-context" };

/** A MySQL listener: project `tdb_2abf90d3` with MySQL blueprint `shop` and PostgreSQL blueprint `myapp`; passwords `project-pw`, `tenant-pw`. */
export class MysqlWorld extends DoorWorld {
  readonly engine = createMysqlEngine();
  /** What the store says instead of an answer. */
  isAway: GatewayError | undefined;
  readonly mysqlDeps: DoormanDeps = {
    ...this.deps,
    tls: context,
    greetingDelayMs: () => 0,
    listDatabases: (credential) => (this.isAway ? Promise.reject(this.isAway) : this.deps.listDatabases(credential)),
  };

  static async create(options: DoorOptions = {}): Promise<MysqlWorld> {
    const world = new MysqlWorld(options);
    const mysql = { engine: "MySQL", database: undefined } as const;
    world.routes.targets.set("shop_workspace", makeTarget("shop", undefined, { ...mysql, redirectTo: "db.example:3306" }));
    world.routes.targets.set("plain_workspace", makeTarget("plain", undefined, mysql));
    world.routes.targets.set("myapp_workspace", makeTarget("myapp", undefined));
    world.routes.targets.set("myapp__wayne", makeTarget("myapp", "wayne"));
    world.add(await makeCredential("key_project", "project-pw", { type: "project" }), "myapp_workspace", "plain_workspace", "shop_workspace");
    world.add(await makeCredential("key_tenant", "tenant-pw", { type: "tenant", values: ["wayne"] }), "myapp__wayne");
    return world;
  }

  /** A new connection, greeted. */
  async dial(address = "192.0.2.1"): Promise<MysqlGuest> {
    const [near, far] = pipePair({ address, port: 50_000 });
    far.startTls = (_context, received) => Promise.resolve(new SecuredPipe(far, received));
    this.running++;
    void runVisit(far, this.engine, this.mysqlDeps).finally(() => this.running--);
    const guest = new MysqlGuest(near);
    await settle();
    return guest;
  }
}

export class MysqlGuest extends Caller {
  async exchange(...sent: (Uint8Array | string)[]): Promise<Packet[]> {
    await this.ask(...sent);
    return splitPackets(this.received);
  }

  /** TLS, login, password. @returns the last answer: OK or ERR. */
  async login(fields: Partial<ResponseFields> & { readonly password: string }): Promise<Packet> {
    const { password, ...response } = fields;
    const [asked] = await this.exchange(sslRequest(), packet(2, responseBody({ user: projectId, ...response })));
    if (asked?.body[0] !== 1) return asked!;
    return (await this.exchange(packet(4, `${password}\0`)))[0]!;
  }

  async loginError(fields: Partial<ResponseFields> & { readonly password: string }): Promise<ErrorPacket | undefined> {
    return readError(await this.login(fields));
  }

  command(code: number, argument: Uint8Array | string = ""): Promise<Packet[]> {
    return this.exchange(packet(0, Buffer.of(code), argument));
  }

  query(sql: string): Promise<Packet[]> {
    return this.command(3, sql);
  }
}
