/** The command line of `tdb up` as flags by name; what they mean is the settings table's business. */
import { ConfigError, type ConfigIssue, didYouMean, flagName, settingPaths, settings } from "../../core/config.ts";

export interface UpArguments {
  /** By name without dashes, as `parseConfig` takes them. */
  readonly flags: Readonly<Record<string, string>>;
  /** `--check`: validate and exit. */
  readonly check: boolean;
  /** `--help`, `-h`. */
  readonly help: boolean;
}

const switches = new Set<string>(settingPaths.filter((path) => settings[path].type === "bool").map(flagName));
const valued = new Set<string>(settingPaths.map(flagName).filter((flag) => !switches.has(flag)));

/**
 * Reads `--pg-port 5433`, `--pg-port=5433`, `--signup-enabled`, `--no-signup-enabled`; of a repeated flag the last counts.
 * @throws {ConfigError} unknown flag, flag without its value, argument that is no flag: all of them at once.
 */
export function parseUpArguments(argv: readonly string[]): UpArguments {
  const flags: Record<string, string> = {};
  const issues: ConfigIssue[] = [];
  let check = false;
  let help = false;
  for (let index = 0; index < argv.length; index++) {
    const argument = argv[index]!;
    const { name, value } = splitFlag(argument);
    const next = argv[index + 1];
    if (argument === "--check") check = true;
    else if (argument === "--help" || argument === "-h") help = true;
    else if (name === undefined) issues.push({ path: argument, source: argument, message: "unexpected argument; settings are given as flags" });
    else if (switches.has(name)) flags[name] = value ?? "true";
    else if (name.startsWith("no-") && switches.has(name.slice(3)) && value === undefined) flags[name.slice(3)] = "false";
    else if (!valued.has(name)) {
      issues.push(unknownFlag(name));
      if (value === undefined && next !== undefined && !next.startsWith("-")) index++; // its value, so as not to complain twice
    } else if (value !== undefined) flags[name] = value;
    else if (next === undefined || next.startsWith("--")) issues.push({ path: name, source: `--${name}`, message: "needs a value" });
    else {
      flags[name] = next;
      index++;
    }
  }
  if (issues.length > 0) throw new ConfigError(issues);
  return { flags, check, help };
}

/** `name` is undefined when the argument is not a long flag. */
function splitFlag(argument: string): { name: string | undefined; value: string | undefined } {
  if (!argument.startsWith("--") || argument === "--") return { name: undefined, value: undefined };
  const cut = argument.indexOf("=");
  return cut < 0 ? { name: argument.slice(2), value: undefined } : { name: argument.slice(2, cut), value: argument.slice(cut + 1) };
}

function unknownFlag(name: string): ConfigIssue {
  const known = [...valued, ...switches, "check", "help"].map((flag) => `--${flag}`);
  return { path: name, source: `--${name}`, message: `unknown flag${didYouMean(`--${name}`, known)}` };
}
