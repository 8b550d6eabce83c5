/** The languages that drivers.test.ts runs, in the order of docs/drivers.md. */
import { go } from "./go/manifest.ts";
import { java } from "./java/manifest.ts";
import { node } from "./node/manifest.ts";
import { perl } from "./perl/manifest.ts";
import { php } from "./php/manifest.ts";
import { python } from "./python/manifest.ts";
import { ruby } from "./ruby/manifest.ts";
import { rust } from "./rust/manifest.ts";
import type { Language } from "./support/language.ts";
import { tools } from "./tools/manifest.ts";

export const languages: readonly Language[] = [node, python, go, java, ruby, rust, php, perl, tools];
