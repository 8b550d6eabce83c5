/** Signing up and logging in. */
import { z } from "@hono/zod-openapi";
import { GatewayError } from "../../core/errors.ts";
import { bearerSecret } from "../authenticate.ts";
import type { ApiContext } from "../context.ts";
import { endpoint } from "../endpoint.ts";
import { answer, created, ok } from "../envelope.ts";
import { isoTime, presentProject } from "../present.ts";
import { Email, Name, newProjectFields, Password, Project, Time } from "../schema.ts";

const tags = ["Account"];
const policy = { who: "open" } as const;

const SignupBody = z
  .strictObject({ email: Email, password: Password, project_name: Name.default("My Project").openapi({ example: "My Project" }) })
  .openapi("Signup");

const signup = endpoint(
  { policy },
  {
    method: "post",
    path: "/signup",
    tags,
    summary: "Make an account and its first project",
    description: "The secrets are shown once. The operator can switch this off.",
    request: { body: { required: true, content: { "application/json": { schema: SignupBody } } } },
    responses: { 201: answer(201, "The account's first project", newProjectFields) },
  },
  async (c) => {
    if (!c.var.api.signupEnabled) throw new GatewayError("forbidden", "signing up is switched off on this gateway; ask its operator for an API key");
    const { email, password, project_name } = c.req.valid("json");
    const { project, apiKey, proxyPassword } = await c.var.api.control.signup({ email, password, projectName: project_name });
    return created(c, { ...presentProject(project), api_key: apiKey, proxy_password: proxyPassword });
  },
);

const LoginBody = z
  .strictObject({ email: Email, password: z.string().min(1, "must not be empty").max(1024, "must have at most 1024 characters") })
  .openapi("Login");

const login = endpoint(
  { policy },
  {
    method: "post",
    path: "/login",
    tags,
    summary: "Get a session token for the dashboard and the command line",
    description:
      "The token goes where an API key goes. A session acts for all projects of the account: name one in `X-Project-Id` unless there is only one.",
    request: { body: { required: true, content: { "application/json": { schema: LoginBody } } } },
    responses: {
      200: answer(200, "A session", { token: z.string(), expires_at: Time, email: z.string(), projects: z.array(Project) }),
    },
  },
  async (c) => {
    await refuseTooManyLogins(c);
    const session = await c.var.api.control.login(c.req.valid("json")).catch(async (error: unknown) => {
      if (error instanceof GatewayError && error.kind === "unauthorized") await c.var.limiter.countFailedLogin(c.env.remoteAddress ?? "");
      throw error;
    });
    return ok(c, {
      token: session.token,
      expires_at: isoTime(session.expiresAt),
      email: session.account.email,
      projects: session.projects.map(presentProject),
    });
  },
);

const LogoutBody = z
  .strictObject({ everywhere: z.boolean().default(false).openapi({ description: "End all sessions of the account, not only this one." }) })
  .openapi("Logout");

const logout = endpoint(
  { policy: { who: "account" } },
  {
    method: "post",
    path: "/logout",
    tags,
    summary: "End a session",
    description: "The token in the Authorization header stops working at once. An API key is no session: revoke it with DELETE /apikeys/{id}.",
    request: { body: { required: false, content: { "application/json": { schema: LogoutBody } } } },
    responses: { 200: answer(200, "Ended", { sessions_ended: z.number().int() }) },
  },
  async (c) => {
    const { principal, api } = c.var;
    if (principal.type !== "session") throw new GatewayError("bad_request", "an API key is no session; revoke it with DELETE /apikeys/{id}");
    const { everywhere = false } = c.req.valid("json") ?? {};
    return ok(c, { sessions_ended: await api.control.logout(bearerSecret(c) ?? "", everywhere) });
  },
);

async function refuseTooManyLogins(c: ApiContext): Promise<void> {
  const retryAfterS = await c.var.limiter.loginWait(c.env.remoteAddress ?? "");
  if (retryAfterS !== undefined)
    throw new GatewayError("rate_limited", `too many failed log-ins from your address, retry in ${retryAfterS}s`, { retryAfterS });
}

export const accountEndpoints = [signup, login, logout] as const;
