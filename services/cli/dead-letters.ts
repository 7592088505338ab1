import type { Command } from "commander";

import type { CliConfig } from "./config.ts";
import { addListCommand } from "./dead-letters/list.ts";
import { addRedriveCommand } from "./dead-letters/redrive.ts";
import { addShowCommand } from "./dead-letters/show.ts";
import { addSkipCommand } from "./dead-letters/skip.ts";

/** `caseflow dead-letters …`: events whose delivery was given up, and what to do about them. */
export function addDeadLettersCommand(program: Command, config: CliConfig): void {
  const letters = program
    .command("dead-letters")
    .description("look at events whose delivery was given up, and queue them again or skip them");
  addListCommand(letters, config);
  addShowCommand(letters, config);
  addRedriveCommand(letters, config);
  addSkipCommand(letters, config);
}
