/** The schemas a workspace can begin with. */
import type { TemplateName } from "../../../core/schema-design.ts";
import { blog } from "./blog.ts";
import { ecommerce } from "./ecommerce.ts";
import { fintech } from "./fintech.ts";
import { iot } from "./iot.ts";
import { saas } from "./saas.ts";

export const templates: Readonly<Record<TemplateName, string>> = { ecommerce, saas, blog, fintech, iot };
