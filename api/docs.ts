/** The browsable reference: Swagger UI from the installed package, no outside hosts. */
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { GatewayError } from "../core/errors.ts";
import type { ApiContext } from "./context.ts";

const contentSecurityPolicy = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self' 'unsafe-inline'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join("; ");

const page = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Tenantry API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"><a href="/openapi.json">openapi.json</a></div>
<noscript>This page needs JavaScript. The same reference for machines: <a href="/openapi.json">/openapi.json</a>.</noscript>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
`;

const startScript = `SwaggerUIBundle({ url: "/openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null, persistAuthorization: false });
`;

const packaged: Record<string, string> = { "swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript" };

/** The page at /docs. */
export function serveDocs(c: ApiContext): Response {
  c.header("Content-Security-Policy", contentSecurityPolicy);
  return c.html(page);
}

/** Its script and the two files it takes from the package. @throws {GatewayError} not_found */
export async function serveDocsFile(c: ApiContext): Promise<Response> {
  const name = c.req.param("file") ?? "";
  if (name === "start.js") return c.body(startScript, 200, { "Content-Type": "text/javascript; charset=utf-8" });
  const type = Object.hasOwn(packaged, name) ? packaged[name] : undefined;
  if (!type) throw new GatewayError("not_found", "no such page; the reference is at /docs");
  const folder = findPackage();
  if (!folder) throw new GatewayError("not_found", "this program was built without the reference's pages; openapi.json has all they show");
  return c.body(await readFile(join(folder, name)), 200, { "Content-Type": `${type}; charset=utf-8`, "Cache-Control": "max-age=3600" });
}

/** Undefined in a single executable, which has no packages beside it: the page then links to the document itself. */
function findPackage(): string | undefined {
  try {
    return dirname(createRequire(import.meta.url).resolve("swagger-ui-dist/package.json"));
  } catch {
    return undefined;
  }
}
