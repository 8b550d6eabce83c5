/** What is used of pg-copy-streams, which brings no types of its own. */
declare module "pg-copy-streams" {
  import type { Readable, Writable } from "node:stream";
  import type { Submittable } from "pg";

  export function to(text: string, options?: { readonly highWaterMark?: number }): Readable & Submittable;
  export function from(text: string, options?: { readonly highWaterMark?: number }): Writable & Submittable & { readonly rowCount: number };
}
