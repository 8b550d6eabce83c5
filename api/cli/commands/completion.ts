/** tdb completion: shell completion read off the command tree. */
import { Argument, type Command } from "commander";
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

/** Words that may follow each command path: "" → nouns, "tenants" → verbs, "tenants create" → options. */
type Words = ReadonlyMap<string, readonly string[]>;

function readWords(program: Command): Words {
  const words = new Map<string, string[]>();
  const visit = (command: Command, path: string) => {
    const options = command.options.flatMap((option) => option.long ?? []);
    words.set(path, [...command.commands.map((child) => child.name()), ...options, "--help"]);
    for (const child of command.commands) visit(child, path === "" ? child.name() : `${path} ${child.name()}`);
  };
  visit(program, "");
  return words;
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
${cases(words)}
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
${cases(words, "words_list")}
  esac
  compadd -- \${=words_list}
}
_tdb "$@"`,
  fish: (words) => `function __tdb_words
  set -l path ""
  for word in (commandline -opc)[2..-1]
    switch (string trim "$path $word")
      case ${[...words.keys()]
        .filter(Boolean)
        .map((path) => `'${path}'`)
        .join(" ")}
        set path (string trim "$path $word")
    end
  end
  switch "$path"
${[...words].map(([path, list]) => `    case '${path}'\n      printf '%s\\n' ${list.join(" ")}`).join("\n")}
  end
end
complete -c tdb -f -a '(__tdb_words)'`,
};

function patterns(words: Words): string {
  return [...words.keys()]
    .filter(Boolean)
    .map((path) => `"${path}"`)
    .join("|");
}

function cases(words: Words, variable = "words"): string {
  return [...words].map(([path, list]) => `    "${path}") ${variable}="${list.join(" ")}" ;;`).join("\n");
}
