/** Something the command could not do, told in one sentence that says what to do about it. Ends the command with exit code 1. */
export class Failure extends Error {
  override readonly name = "Failure";
}
