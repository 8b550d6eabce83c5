/** Checks of what callers give, in one wording: a sentence for people and the fields at fault. */
import { type ErrorIssue, GatewayError } from "../../core/errors.ts";
import { type DatabaseSettings, defaultDatabaseSettings } from "../../core/model.ts";

export function badRequest(message: string, path: string, issue: string = message): GatewayError {
  return new GatewayError("bad_request", message, { issues: [{ path, message: issue }] });
}

/** Trimmed, lower case. @throws {GatewayError} bad_request when it cannot be an address. */
export function normaliseEmail(email: string): string {
  const normal = email.normalize("NFKC").trim().toLowerCase();
  if (normal.length > 254 || !/^[^\s@]+@[^\s@]+$/.test(normal)) throw badRequest("email is not an e-mail address", "email");
  return normal;
}

export function checkPassword(password: string): void {
  if ([...password].length < 8) throw badRequest("password must have at least 8 characters", "password");
  if (password.length > 1024) throw badRequest("password must have at most 1024 characters", "password");
}

/** A name for people: of a project or a key. */
export function checkLabel(name: string, path: string): string {
  const trimmed = name.trim();
  if (trimmed.length === 0 || trimmed.length > 200) throw badRequest(`${path} must have 1 to 200 characters`, path);
  if (/\p{Cc}/u.test(trimmed)) throw badRequest(`${path} must not have control characters`, path);
  return trimmed;
}

type NumericSetting = { [K in keyof DatabaseSettings]: DatabaseSettings[K] extends number ? K : never }[keyof DatabaseSettings];

const ranges: Record<NumericSetting, readonly [number, number]> = {
  max_rows_per_query: [0, 1_000_000_000],
  query_timeout_ms: [0, 86_400_000],
  max_connections: [1, 10_000],
  slow_query_ms: [0, 86_400_000],
};

/** Checks names and values of a settings patch; null stands for "remove" where `allowNull`. @throws {GatewayError} bad_request */
export function checkSettingsPatch(patch: Readonly<Record<string, unknown>>, allowNull: boolean): void {
  const issues: ErrorIssue[] = [];
  for (const [name, value] of Object.entries(patch)) {
    const wrong = settingFault(name, value, allowNull);
    if (wrong !== undefined) issues.push({ path: name, message: wrong });
  }
  if (issues.length > 0)
    throw new GatewayError("bad_request", `Invalid settings: ${issues.map((i) => `${i.path} ${i.message}`).join("; ")}`, { issues });
}

function settingFault(name: string, value: unknown, allowNull: boolean): string | undefined {
  if (!Object.hasOwn(defaultDatabaseSettings, name)) return "is not a setting";
  if (value === undefined || (value === null && allowNull)) return undefined;
  if (name === "allow_copy") return typeof value === "boolean" ? undefined : "must be true or false";
  if (name === "pool_mode") return value === "session" || value === "transaction" ? undefined : "must be session or transaction";
  const [least, most] = ranges[name as NumericSetting];
  if (typeof value === "number" && Number.isInteger(value) && value >= least && value <= most) return undefined;
  return `must be a whole number from ${least} to ${most}`;
}

/** Applies a checked patch: undefined leaves a value, null removes it. */
export function mergeSettings(
  known: Partial<DatabaseSettings>,
  patch: { readonly [K in keyof DatabaseSettings]?: DatabaseSettings[K] | null | undefined },
): Partial<DatabaseSettings> {
  const merged: Record<string, unknown> = { ...known };
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete merged[name];
    else if (value !== undefined) merged[name] = value;
  }
  return merged as Partial<DatabaseSettings>;
}
