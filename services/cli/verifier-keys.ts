import { type Command, InvalidArgumentError } from "commander";
import type { AuditClient } from "#libs/client/audit-client.ts";
import { type NoteVerifier, readVerifierKey } from "#libs/merkle/signed-note.ts";

import type { LogKeys } from "./verify/read-signed.ts";

/** Takes one more `--vkey`; the option is given once for each key. */
export function addKey(text: string, before: readonly NoteVerifier[] = []): NoteVerifier[] {
  try {
    return [...before, readVerifierKey(text.trim())];
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw new InvalidArgumentError(`It is no verifier key: ${error.message}.`);
  }
}

/** The keys of one log; ends the command when they are of several. */
export function toLogKeys(verifiers: readonly NoteVerifier[], command: Command): LogKeys {
  const [origin = "", ...others] = new Set(verifiers.map(({ name }) => name));
  if (others.length > 0) command.error("error: the keys given with --vkey are of different logs");
  return { origin, verifiers };
}

/** The keys given, or else those that the service tells, which is said on standard error: it could tell any. */
export async function findLogKeys(
  audit: AuditClient,
  given: readonly NoteVerifier[] | undefined,
  command: Command,
): Promise<LogKeys> {
  if (given) return toLogKeys(given, command);
  const { verifierKeys } = await audit.getCheckpoint({});
  console.error(
    "note: without --vkey, the keys are those that the service itself tells; compare them over another channel",
  );
  return toLogKeys(verifierKeys.map(readVerifierKey), command);
}
