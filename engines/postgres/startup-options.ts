/** The `options` start-up parameter, taken apart the way PostgreSQL does (pg_split_opts), and the settings that never pass. */
import { GatewayError } from "../../core/errors.ts";

/** Settings that would change who the session is, or load code; PostgreSQL itself refuses the privileged rest. */
const neverPassed = new Set(["role", "session_authorization", "replication", "local_preload_libraries", "session_preload_libraries"]);

/** Fields of the start-up packet that are no settings: spelled as one, they would take the place of our own in the backend's packet. */
const startupOnly = new Set(["user", "database", "options"]);

/**
 * `-c name=value`, `-cname=value` and `--name=value`; blanks separate, a backslash takes the next character as it is.
 * @throws {GatewayError} protocol_violation for any other switch: only settings may be given.
 */
export function readOptions(options: string): Map<string, string> {
  const parameters = new Map<string, string>();
  const words = splitOptions(options);
  for (let i = 0; i < words.length; i++) {
    const word = words[i] as string;
    let assignment: string | undefined;
    if (word === "-c") assignment = words[++i];
    else if (word.startsWith("-c")) assignment = word.slice(2);
    else if (word.startsWith("--")) assignment = word.slice(2);
    const equals = assignment?.indexOf("=") ?? -1;
    if (assignment === undefined || equals < 1) throw optionRefused(word);
    const name = assignment.slice(0, equals).replaceAll("-", "_");
    if (!/^[A-Za-z_][A-Za-z0-9_.$]{0,62}$/.test(name) || startupOnly.has(name.toLowerCase())) throw optionRefused(word);
    parameters.set(name, assignment.slice(equals + 1));
  }
  return parameters;
}

/** @throws {GatewayError} permission_denied naming a parameter that is never passed on. Called after authentication: before it, nothing is told. */
export function assertParametersAllowed(parameters: ReadonlyMap<string, string>): void {
  for (const name of parameters.keys()) {
    if (neverPassed.has(name.toLowerCase())) {
      throw new GatewayError("scope_denied", `permission denied to set parameter "${name}" at connection start`, { sqlstate: "42501" });
    }
  }
}

function optionRefused(word: string): GatewayError {
  return new GatewayError("protocol_violation", `unsupported switch in startup options: "${word.slice(0, 40)}"; use -c name=value`, {
    sqlstate: "42601",
  });
}

/** C's isspace: a no-break space is part of a word. */
function isBlank(c: string): boolean {
  return c === " " || (c >= "\t" && c <= "\r");
}

function splitOptions(options: string): string[] {
  const words: string[] = [];
  let word = "";
  let inWord = false;
  for (let i = 0; i < options.length; i++) {
    const c = options[i] as string;
    if (isBlank(c)) {
      if (inWord) words.push(word);
      word = "";
      inWord = false;
      continue;
    }
    inWord = true;
    if (c === "\\" && i + 1 < options.length) word += options[++i];
    else if (c !== "\\") word += c;
  }
  if (inWord) words.push(word);
  return words;
}
