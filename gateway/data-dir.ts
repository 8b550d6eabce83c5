/** The data directory: made when missing, checked to be one. */
import { mkdir, stat } from "node:fs/promises";
import { StartupError } from "./startup-error.ts";

/** @returns `path`. Others may pass through it (the embedded server may run as another user) but not look in. @throws {StartupError} naming --data-dir. */
export async function makeDataDir(path: string): Promise<string> {
  try {
    await mkdir(path, { recursive: true, mode: 0o711 });
    if (!(await stat(path)).isDirectory()) throw new Error("it is not a directory");
    return path;
  } catch (error) {
    throw new StartupError("--data-dir", `the data directory "${path}" cannot be used: ${(error as Error).message}`, error);
  }
}
