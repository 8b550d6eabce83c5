/** What --help teaches: every command has a line to type, and every such line is one the command line understands. */
import type { Command } from "commander";
import { describe, expect, it } from "vitest";
import type { CliHost } from "../../api/cli/host.ts";
import { buildProgram } from "../../api/cli/program.ts";
import { CliSession } from "../../api/cli/session.ts";

function helps(): { readonly program: Command; readonly leaves: { readonly path: string; readonly help: string }[] } {
  let text = "";
  const write = (more: string) => {
    text += more;
  };
  const output = { isTTY: false, write };
  const host = { env: {}, cwd: "/", homeDir: "/", stdout: output, stderr: output } as unknown as CliHost;
  const program = buildProgram(new CliSession(host));
  const leaves: { path: string; help: string }[] = [];
  const visit = (command: Command, path: string) => {
    if (command.commands.length === 0) {
      text = "";
      command.configureOutput({ writeOut: output.write }).outputHelp();
      leaves.push({ path, help: text });
    }
    for (const child of command.commands) visit(child, `${path} ${child.name()}`.trim());
  };
  visit(program, "");
  return { program, leaves };
}

describe("tdb --help", () => {
  it("has something to type for every command", () => {
    const { leaves } = helps();
    expect(leaves.length).toBeGreaterThan(55);
    expect(
      leaves.filter(({ help }) => !/^ +\$ /m.test(help)).map(({ path }) => path),
      "give these a line in api/cli/examples.ts",
    ).toEqual([]);
  });

  it("names commands, options and the number of arguments as they are", () => {
    const { program, leaves } = helps();
    const wrong: string[] = [];
    let lines = 0;
    for (const { help } of leaves) {
      for (const [, line] of help.matchAll(/^ +\$ (?:\w+=\S+ )*tdb ([^|<>#\n]*)/gm)) {
        lines++;
        const words = [...line!.matchAll(/'[^']*'|"[^"]*"|\S+/g)].map(([word]) => word);
        let command = program;
        while (words.length > 0) {
          const child = command.commands.find((each) => each.name() === words[0]);
          if (!child) break;
          command = child;
          words.shift();
        }
        if (command === program) wrong.push(`no such command: ${line}`);
        const known = [
          ...command.options,
          ...(command.parent?.commands ?? []).flatMap((each) => (each.name() === "list" ? each.options : [])),
          ...program.options,
        ];
        for (const word of words.filter((each) => /^--\w/.test(each))) {
          if (command.name() !== "up" && !known.some((option) => option.long === word.split("=")[0])) wrong.push(`no ${word}: ${line}`);
        }
        if (command.registeredArguments.filter((each) => each.required).length > words.filter((each) => !each.startsWith("-")).length)
          wrong.push(`arguments are missing: ${line}`);
      }
    }
    expect(lines).toBeGreaterThan(60);
    expect(wrong).toEqual([]);
  });
});
