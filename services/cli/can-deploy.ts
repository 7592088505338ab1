import { type Command, InvalidArgumentError } from "commander";

import { print } from "./print.ts";

/** `caseflow can-deploy SERVICE@VERSION`: whether its consumers and providers could live with it. Exit 0 yes, 1 no, 2 usage. */
export function addCanDeployCommand(program: Command): void {
  program
    .command("can-deploy")
    .description("tell whether a version may be deployed, by the contracts of everybody it works with")
    .argument("<service@version>", "such as case@next, where next is the working tree", readTarget)
    .option("--json", "print one line of JSON instead")
    .addHelpText(
      "after",
      `
Works in a clone of the repository, offline. Exit 0: yes; 1: no, and whom and what it would hurt; 2: not understood.

Examples:
  caseflow can-deploy case@next
  caseflow can-deploy intake-portal@next --json`,
    )
    .action(async (target: Target, _options: unknown, command: Command) => {
      // Much to load, and only for this command.
      const { canDeploy, UnknownDeployment } = await import("#contracts/can-deploy.ts");
      try {
        const { can, reasons } = await canDeploy(target.service, target.version);
        print(command, [can ? "yes" : "no", ...reasons].join("\n  "), { can, reasons });
        if (!can) process.exitCode = 1;
      } catch (error) {
        if (error instanceof UnknownDeployment) command.error(`error: ${error.message}`, { exitCode: 2 });
        throw error;
      }
    });
}

interface Target {
  readonly service: string;
  readonly version: string;
}

function readTarget(text: string): Target {
  const [, service, version] = /^([a-z][a-z0-9-]*)@(next|\d+\.\d+\.\d+)$/.exec(text) ?? [];
  if (service !== undefined && version !== undefined) return { service, version };
  throw new InvalidArgumentError("It is a service, @, and next or a version such as 0.1.0.");
}
