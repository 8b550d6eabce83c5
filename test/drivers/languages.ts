/** The languages that drivers.test.ts runs, in the order of docs/drivers.md. */
import { go } from "./go/manifest.ts";
import { java } from "./java/manifest.ts";
import { node } from "./node/manifest.ts";
import { python } from "./python/manifest.ts";
import type { Language } from "./support/language.ts";

export const languages: readonly Language[] = [node, python, go, java];
