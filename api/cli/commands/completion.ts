/** tdb completion: shell completion read off the command tree. */
import { Argument, type Command } from "commander";
import { flagName, settingPaths, settings } from "../../../core/config.ts";
import type { CliSession } from "../session.ts";

const shells = ["bash", "zsh", "fish"] as const;
type Shell = (typeof shells)[number];

export function addCompletionCommand(program: Command, session: CliSession): void {
  program
    .command("completion")
    .description("Print a completion script for your shell")
    .addArgument(new Argument("<shell>").choices(shells))
    .addHelpText(
      "after",
      `
Examples:
  $ tdb completion bash > ~/.local/share/bash-completion/completions/tdb
  $ tdb completion zsh > ~/.zfunc/_tdb
  $ tdb completion fish > ~/.config/fish/completions/tdb.fish`,
    )
    .action((shell: Shell) => {
      const script = writers[shell](readWords(program));
      return session.print({ success: true, shell, script }, { quiet: () => script, human: () => script });
    });
}

interface Words {
  /** What may follow each command path: "" → nouns, "tenants" → verbs, "tenants create" → options. */
  readonly paths: ReadonlyMap<string, readonly string[]>;
  /** What may follow an option that takes one of a few words: "workspaces create --mode" → them. */
  readonly values: ReadonlyMap<string, readonly string[]>;
}

function readWords(program: Command): Words {
  const paths = new Map<string, readonly string[]>();
  const values = new Map<string, readonly string[]>();
  const visit = (command: Command, path: string) => {
    const options = command.options.flatMap((option) => option.long ?? []);
    const given = command.registeredArguments.flatMap((argument) => argument.argChoices ?? []);
    paths.set(path, [...command.commands.map((child) => child.name()), ...given, ...options, "--help"]);
    for (const { long, argChoices } of command.options) if (long && argChoices) values.set(`${path} ${long}`, argChoices);
    for (const child of command.commands) visit(child, path === "" ? child.name() : `${path} ${child.name()}`);
  };
  visit(program, "");
  addCommandsHere({ paths, values });
  return { paths, values };
}

/** `up` and `master-key` run on this machine and read their arguments themselves: all settings are flags of theirs. */
function addCommandsHere({ paths, values }: { paths: Map<string, readonly string[]>; values: Map<string, readonly string[]> }): void {
  const flags = settingPaths.flatMap((path) => {
    const flag = flagName(path);
    return settings[path].type === "bool" ? [`--${flag}`, `--no-${flag}`] : [`--${flag}`];
  });
  paths.set("up", [...flags, "--check", "--help"]);
  paths.set("master-key", ["rotate", "--help"]);
  paths.set("master-key rotate", ["--data-dir", "--master-key-file", "--config", "--help"]);
  for (const path of settingPaths) {
    const setting = settings[path];
    if (setting.type === "enum") values.set(`up --${flagName(path)}`, setting.values);
  }
}

/** Drops options from the words typed so far until a known path is left; all shells do it the same way. */
const writers: Record<Shell, (words: Words) => string> = {
  bash: (words) => `_tdb() {
  local path="" word i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="\${COMP_WORDS[i]}"
    case "$word" in -*) ;; *) case "\${path}\${path:+ }$word" in ${patterns(words)}) path="\${path}\${path:+ }$word" ;; esac ;; esac
  done
  local words=""
  case "$path" in
${cases(words.paths)}
  esac
  case "$path \${COMP_WORDS[COMP_CWORD - 1]}" in
${cases(words.values)}
  esac
  COMPREPLY=($(compgen -W "$words" -- "\${COMP_WORDS[COMP_CWORD]}"))
}
complete -o default -F _tdb tdb`,
  zsh: (words) => `#compdef tdb
_tdb() {
  local path_words="" word words_list=""
  for word in "\${(@)words[2,CURRENT-1]}"; do
    case "$word" in -*) ;; *) case "\${path_words}\${path_words:+ }$word" in ${patterns(words)}) path_words="\${path_words}\${path_words:+ }$word" ;; esac ;; esac
  done
  case "$path_words" in
${cases(words.paths, "words_list")}
  esac
  case "$path_words $words[CURRENT-1]" in
${cases(words.values, "words_list")}
  esac
  compadd -- \${=words_list}
}
_tdb "$@"`,
  fish: (words) => `function __tdb_words
  set -l path ""
  set -l last ""
  for word in (commandline -opc)[2..-1]
    set last $word
    switch (string trim "$path $word")
      case ${[...words.paths.keys()]
        .filter(Boolean)
        .map((path) => `'${path}'`)
        .join(" ")}
        set path (string trim "$path $word")
    end
  end
  switch "$path $last"
${fishCases(words.values)}
    case '*'
      switch "$path"
${fishCases(words.paths)}
      end
  end
end
complete -c tdb -f -a '(__tdb_words)'`,
};

function patterns(words: Words): string {
  return [...words.paths.keys()]
    .filter(Boolean)
    .map((path) => `"${path}"`)
    .join("|");
}

function cases(words: ReadonlyMap<string, readonly string[]>, variable = "words"): string {
  return [...words].map(([path, list]) => `    "${path}") ${variable}="${list.join(" ")}" ;;`).join("\n");
}

function fishCases(words: ReadonlyMap<string, readonly string[]>): string {
  return [...words].map(([path, list]) => `    case '${path}'\n      printf '%s\\n' ${list.join(" ")}`).join("\n");
}
