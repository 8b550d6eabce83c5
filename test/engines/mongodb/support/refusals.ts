/** What clients are told, as error documents, and the logins most tests use. */
import { projectId } from "../../postgres/support/world.ts";

export const wrongEngine = 'blueprint "myapp" is PostgreSQL, not MongoDB. Connect via the postgres proxy instead.';
export const redirect = 'blueprint "shop" is MongoDB; this gateway does not proxy MongoDB yet. Connect to it directly at db.example:27017.';

function refusal(code: number, codeName: string, errmsg: string) {
  return { ok: 0, errmsg, code, codeName };
}
export const denied = (text: string) => refusal(13, "Unauthorized", text);
export const failed = (text: string) => refusal(18, "AuthenticationFailed", text);
export const elsewhere = (text: string) => refusal(8000, "AtlasError", text);

export const shop = { user: projectId, password: "project-pw", source: "shop_workspace" };
/** A login that says nothing of a database of ours. */
export const admin = { ...shop, source: "admin" };
