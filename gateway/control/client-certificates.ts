/** Client certificates a project demands of its database clients, in addition to the password. */
import type { ClientCertificate } from "../../core/control-plane.ts";
import { GatewayError } from "../../core/errors.ts";
import { notifyChange } from "../store/changes.ts";
import { readTrusted } from "../tls/client-trust.ts";
import type { ControlContext } from "./context.ts";
import { badRequest } from "./inputs.ts";
import { projectNotFound } from "./projects.ts";

export async function getClientCertificates(context: ControlContext, projectId: string): Promise<readonly ClientCertificate[]> {
  const row = await context.store.db
    .selectFrom("projects")
    .select("client_certificates")
    .where("id", "=", projectId)
    .where("state", "=", "ready")
    .executeTakeFirst();
  if (!row) throw projectNotFound(projectId);
  return row.client_certificates ? readTrusted(row.client_certificates) : [];
}

/** `pem` undefined: none are demanded any more. In force for new connections at once. */
export async function setClientCertificates(
  context: ControlContext,
  projectId: string,
  pem: string | undefined,
): Promise<readonly ClientCertificate[]> {
  if (pem !== undefined && !context.config.asksClientCertificates) {
    throw new GatewayError(
      "conflict",
      "This gateway does not ask clients for certificates; its operator can switch it on with tls.client_certificates",
    );
  }
  const trusted = pem === undefined ? [] : parse(pem);
  await context.store.transaction(async (trx) => {
    const row = await trx
      .updateTable("projects")
      .set({ client_certificates: trusted.length === 0 ? null : trusted.map((each) => each.pem).join("\n") })
      .where("id", "=", projectId)
      .where("state", "=", "ready")
      .returning("id")
      .executeTakeFirst();
    if (!row) throw projectNotFound(projectId);
    await notifyChange(trx, { projectId });
  });
  return trusted;
}

function parse(pem: string) {
  try {
    return readTrusted(pem);
  } catch (error) {
    throw badRequest(`certificates ${(error as Error).message}`, "certificates");
  }
}
