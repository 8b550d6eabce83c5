/** The wall around a database: every way out of it that we know, tried by every role, through the gateway and past it. */
import type pg from "pg";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { connect, failure } from "../e2e/support/clients.ts";
import type { RuntimeUnderTest } from "../e2e/support/gateway.ts";
import { type Attempt, attemptsOf } from "./wall-attempts.ts";
import { describeNeighbours } from "./wall-neighbours.ts";
import { describePoison } from "./wall-poison.ts";
import { type Attacker, makeWallWorld, type WallWorld } from "./wall-world.ts";

/** How a statement is sent. */
const forms = {
  simple: (sql: string): pg.QueryConfig => ({ text: sql }),
  extended: (sql: string): pg.QueryConfig => ({ text: sql, queryMode: "extended" }) as pg.QueryConfig,
  "DO body": (sql: string): pg.QueryConfig => ({ text: `DO $wall$BEGIN EXECUTE $attempt$${sql}$attempt$; END$wall$` }),
} as const;

export function describeWall(runtime: RuntimeUnderTest): void {
  describe(`the wall under ${runtime}`, () => {
    let world: WallWorld;
    beforeAll(async () => {
      world = await makeWallWorld(runtime);
    });
    afterAll(async () => {
      await world?.dispose();
    });
    const worldOf = () => world;
    describeAttempts(worldOf);
    describeNeighbours(worldOf);
    describePoison(worldOf); // last: what it leaves in a role stays until that role's next login
  });
}

function describeAttempts(worldOf: () => WallWorld): void {
  for (const kind of ["tenant", "workspace"] as const) {
    for (const role of ["admin", "write", "read"] as const) {
      const attacker = () => worldOf().attackers.find((one) => one.kind === kind && one.role === role) as Attacker;
      it(`refuses ${role} of a ${kind} every way out, sent to the gateway`, async () => {
        const client = await connect(worldOf().fleet.gateway, attacker().target);
        expect(await tryAll(worldOf(), attacker(), client)).toEqual([]);
      });

      it(`refuses ${role} of a ${kind} every way out, sent to PostgreSQL itself`, async () => {
        const client = await worldOf().native.as(attacker().database, role);
        expect(await tryAll(worldOf(), attacker(), client)).toEqual([]);
      });
    }
  }
}

/** @returns what was not refused as it must be, or changed something. */
async function tryAll(world: WallWorld, attacker: Attacker, client: pg.Client): Promise<string[]> {
  const wrong: string[] = [];
  const before = await world.snapshot();
  const { name } = attacker.database;
  const attempts = attemptsOf({
    own: name,
    neighbour: world.neighbour.name,
    stranger: world.stranger.name,
    ownRole: `${name}_${attacker.role}`,
    file: `${world.native.socketDir}/wall`,
  });
  for (const attempt of attempts) wrong.push(...(await tryOne(client, attempt, `${name}_${attacker.role}`)));
  const after = await world.snapshot();
  for (const key of new Set([...Object.keys(before), ...Object.keys(after)])) if (before[key] !== after[key]) wrong.push(`changed: ${key}`);
  await client.end();
  return wrong;
}

async function tryOne(client: pg.Client, attempt: Attempt, role: string): Promise<string[]> {
  const wrong: string[] = [];
  for (const [form, make] of Object.entries(forms)) {
    if (form === "DO body" && attempt.topLevel) continue;
    const got = await failure(client.query(make(attempt.sql))).catch(() => ({ code: "ok", message: "" }));
    if (!attempt.codes.includes(got.code ?? "")) wrong.push(`${form}: ${attempt.sql}: ${got.code} ${got.message}`);
  }
  const who = (await client.query("SELECT current_user::text AS c, session_user::text AS s")).rows[0];
  if (who.c !== role || who.s !== role) wrong.push(`${attempt.sql}: became ${who.c}, ${who.s}`);
  return wrong;
}
