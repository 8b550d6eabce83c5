/** Accounts: people who own projects. They sign up, log in with a password, and carry a session token for a day. */
import type { NewProject } from "../../core/control-plane.ts";
import { GatewayError } from "../../core/errors.ts";
import type { Account, Project } from "../../core/model.ts";
import { toAccount, toProject } from "../store/rows.ts";
import { isUniqueViolation } from "../store/store-errors.ts";
import { type ControlContext, nowDate } from "./context.ts";
import { checkLabel, checkPassword, normaliseEmail } from "./inputs.ts";
import { hashPassword, makeDummyHash, verifyPassword } from "./passwords.ts";
import { insertProject, prepareProject, withFreshId } from "./projects.ts";

const sessionMs = 24 * 3_600_000;

export async function signup(context: ControlContext, input: { email: string; password: string; projectName: string }): Promise<NewProject> {
  const email = normaliseEmail(input.email);
  checkPassword(input.password);
  const name = checkLabel(input.projectName, "project_name");
  const passwordHash = await hashPassword(context.secrets.crypto, input.password, context.config.passwordIterations);
  const id = `acc_${context.secrets.randomHex(8)}`;
  try {
    return await withFreshId(async () => {
      const prepared = await prepareProject(context, id, name);
      return await context.store.transaction(async (trx) => {
        await trx
          .insertInto("accounts")
          .values({ id, email, password_hash: passwordHash, created_at: nowDate(context) })
          .execute();
        return await insertProject(trx, prepared);
      });
    });
  } catch (error) {
    if (!isUniqueViolation(error, "accounts_email_key")) throw error;
    throw new GatewayError("conflict", "An account with this e-mail exists already. Use POST /login");
  }
}

export async function login(
  context: ControlContext,
  input: { email: string; password: string },
): Promise<{ account: Account; token: string; expiresAt: number; projects: readonly Project[] }> {
  const email = input.email.normalize("NFKC").trim().toLowerCase();
  const row = await context.store.db.selectFrom("accounts").selectAll().where("email", "=", email).executeTakeFirst();
  const { crypto } = context.secrets;
  const stored = row?.password_hash ?? makeDummyHash(crypto, context.config.passwordIterations);
  const right = await verifyPassword(crypto, input.password.slice(0, 1024), stored);
  if (!row || !right) throw new GatewayError("unauthorized", "Wrong e-mail or password");
  // Sessions past their time are of no use to anybody.
  await context.store.db.deleteFrom("account_sessions").where("account_id", "=", row.id).where("expires_at", "<=", nowDate(context)).execute();
  const token = `tenantsdb_session_${context.secrets.randomHex(32)}`;
  const expiresAt = context.clock.wallMs() + sessionMs;
  await context.store.db
    .insertInto("account_sessions")
    .values({ token_hash: context.secrets.lookupHash(token), account_id: row.id, expires_at: new Date(expiresAt) })
    .execute();
  return { account: toAccount(row), token, expiresAt, projects: await listProjects(context, row.id) };
}

export async function authenticateSession(context: ControlContext, token: string): Promise<Account | undefined> {
  const row = await context.store.db
    .selectFrom("account_sessions as s")
    .innerJoin("accounts as a", "a.id", "s.account_id")
    .selectAll("a")
    .where("s.token_hash", "=", context.secrets.lookupHash(token))
    .where("s.expires_at", ">", nowDate(context))
    .executeTakeFirst();
  return row && toAccount(row);
}

export async function logout(context: ControlContext, token: string, everywhere: boolean): Promise<number> {
  const hash = context.secrets.lookupHash(token);
  const { db } = context.store;
  const mine = db.selectFrom("account_sessions").select("account_id").where("token_hash", "=", hash);
  const [result] = await db
    .deleteFrom("account_sessions")
    .where((eb) => (everywhere ? eb("account_id", "in", mine) : eb("token_hash", "=", hash)))
    .execute();
  return Number(result?.numDeletedRows ?? 0);
}

export async function listProjects(context: ControlContext, accountId: string): Promise<readonly Project[]> {
  const rows = await context.store.db
    .selectFrom("projects")
    .selectAll()
    .where("account_id", "=", accountId)
    .where("state", "=", "ready")
    .orderBy("created_at")
    .orderBy("id")
    .execute();
  return rows.map(toProject);
}
