/** Looks up a few things by name and leaves out those that are gone. */
import { GatewayError } from "../../core/errors.ts";

/** For scopes: a key may still name a workspace that was deleted since. */
export async function findEach<T>(names: readonly string[], find: (name: string) => Promise<T>): Promise<T[]> {
  const found = await Promise.all(
    names.map((name) =>
      find(name).catch((error: unknown) => {
        if (error instanceof GatewayError && error.kind === "not_found") return undefined;
        throw error;
      }),
    ),
  );
  return found.filter((item) => item !== undefined);
}
