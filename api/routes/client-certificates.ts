/** Client certificates (mTLS) a project demands of its clients, in addition to the password. */
import { z } from "@hono/zod-openapi";
import type { ClientCertificate } from "../../core/control-plane.ts";
import type { ApiContext } from "../context.ts";
import { endpoint } from "../endpoint.ts";
import { answer, ok } from "../envelope.ts";
import { isoTime } from "../present.ts";
import { Time } from "../schema.ts";

const tags = ["Projects"];
const path = "/projects/{id}/client-certificates";
const params = z.object({ id: z.string().openapi({ example: "tdb_2abf90d3" }) });

const Certificate = z
  .object({
    subject: z.string().openapi({ example: "CN=clients of Example Ltd" }),
    fingerprint: z.string().openapi({ description: "SHA-256 of the certificate, hex." }),
    authority: z.boolean().openapi({ description: "Whether certificates it issued are good too." }),
    expires_at: Time,
  })
  .openapi("ClientCertificate");

const fields = {
  required: z.boolean().openapi({ description: "Whether clients must show one." }),
  certificates: z.array(Certificate),
  count: z.number().int(),
};

const Body = z
  .strictObject({
    certificates: z.string().min(1).max(200_000).openapi({
      description: "PEM: authorities whose certificates are good, or single clients' certificates.",
      example: "-----BEGIN CERTIFICATE-----\n…",
    }),
  })
  .openapi("ClientCertificates");

function present(certificates: readonly ClientCertificate[]) {
  return {
    required: certificates.length > 0,
    certificates: certificates.map(({ subject, fingerprint, isAuthority, expiresAt }) => ({
      subject,
      fingerprint,
      authority: isAuthority,
      expires_at: isoTime(expiresAt),
    })),
    count: certificates.length,
  };
}

const get = endpoint(
  { policy: { who: "owner" } },
  {
    method: "get",
    path,
    tags,
    summary: "Which client certificates the project's databases demand",
    request: { params },
    responses: { 200: answer(200, "The certificates", fields) },
  },
  async (c) => ok(c, present(await c.var.api.control.getClientCertificates(c.req.valid("param").id))),
);

/** The record of the change has whom the project trusted and trusts, never the text that was sent: a key may have slipped into it. */
async function change(c: ApiContext, projectId: string, pem: string | undefined) {
  const { control } = c.var.api;
  const before = present(await control.getClientCertificates(projectId));
  c.set("before", { certificates: before.certificates });
  const after = present(await control.setClientCertificates(projectId, pem));
  c.set("after", { certificates: after.certificates });
  return after;
}

const put = endpoint(
  { policy: { who: "owner" } },
  {
    method: "put",
    path,
    tags,
    summary: "Demand a client certificate of everybody who connects to the project's databases",
    description:
      "In addition to the password, on the ports of all engines, for new connections at once; open ones go on. Replaces what was demanded before. The gateway must ask clients for certificates: `tls.client_certificates`.",
    request: { params, body: { required: true, content: { "application/json": { schema: Body } } } },
    responses: { 200: answer(200, "The certificates", fields) },
  },
  async (c) => ok(c, await change(c, c.req.valid("param").id, c.req.valid("json").certificates)),
);

const remove = endpoint(
  { policy: { who: "owner" } },
  {
    method: "delete",
    path,
    tags,
    summary: "Demand no client certificate any more",
    request: { params },
    responses: { 200: answer(200, "None is demanded", fields) },
  },
  async (c) => ok(c, await change(c, c.req.valid("param").id, undefined)),
);

export const clientCertificateEndpoints = [get, put, remove] as const;
