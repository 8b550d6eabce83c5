/** Completion as the shells themselves do it: a script of `tdb completion` is loaded, a line typed, and the candidates looked at. */
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { run } from "./gateway.ts";

export const shells = ["bash", "zsh", "fish"] as const;
export type Shell = (typeof shells)[number];

export function isInstalled(shell: Shell): boolean {
  return spawnSync(shell, ["--version"]).status === 0;
}

/** What the script has to be called in its folder: zsh finds it by its name. */
export const scriptNames: Readonly<Record<Shell, string>> = { bash: "tdb.bash", zsh: "_tdb", fish: "tdb.fish" };

/** @param folder with the script. @returns for each typed line what may take the place of its last word, sorted. */
export async function completeIn(shell: Shell, folder: string, lines: readonly string[]): Promise<string[][]> {
  const { code, stdout, stderr } = await run(...programs[shell](join(folder, scriptNames[shell]), folder, lines));
  if (code !== 0 || stderr !== "") throw new Error(`${shell} ended with ${code}: ${stderr}`);
  const shown = stdout.split("\n").slice(0, -1);
  return shown.map((each) => each.split(" ").filter(Boolean).sort());
}

const programs: Readonly<Record<Shell, (script: string, folder: string, lines: readonly string[]) => [string, string[]]>> = {
  bash: (script, _, lines) => ["bash", ["--norc", "-c", bashProgram, script, ...lines]],
  zsh: (_, folder, lines) => ["zsh", ["-f", "-c", zshProgram, folder, ...lines]],
  fish: (script, _, lines) => ["fish", ["--no-config", "-c", fishProgram, script, ...lines]],
};

const bashProgram = `
source "$0"
for line; do
  read -ra COMP_WORDS <<< "$line"
  [[ $line == *" " ]] && COMP_WORDS+=("")
  COMP_CWORD=$((\${#COMP_WORDS[@]} - 1))
  _tdb
  echo "\${COMPREPLY[*]}"
done`;

/** zsh completes at a terminal only: a second one at a pseudo-terminal, with a key that puts every match into the line and writes the line down. */
const zshProgram = `
zmodload zsh/zpty
zpty shell "env -i PATH='$PATH' HOME=/nonexistent TERM=dumb LINES=50 COLUMNS=500 zsh -f -i"
say() { zpty -w shell "$1" }
say "fpath=('$0' \\$fpath); autoload -U compinit && compinit -D -u"
say 'every() { _main_complete; compstate[insert]=all; compstate[list]= }'
say 'zle -C every complete-word every'
say "show() { local typed=\\$BUFFER; zle every; print -r -- \\"\\\${BUFFER#\\\${typed% *} }\\" >> '$0/shown'; BUFFER= }"
say "zle -N show; bindkey '^T' show"
for line; do zpty -w -n shell "$line"$'\\C-t'; done
say exit
while zpty -r shell text; do :; done
cat "$0/shown"`;

const fishProgram = `
source $argv[1]
for line in $argv[2..-1]
  echo (complete -C $line | string replace -r '\\t.*' '')
end`;
