/*
 * What SIGTERM and SIGINT do to a service:
 *
 *   before it has begun    the process ends with 0: there is nothing to stop
 *   the first              `stopSignal` resolves
 *   the second             the process ends at once, with 143 or 130
 *
 * Left alone, a signal ends a process as if it had failed; and one that a container starts first does not get it at all.
 */
const exitCodes = { SIGTERM: 143, SIGINT: 130 } as const;
export type StopSignal = keyof typeof exitCodes;

const first = Promise.withResolvers<StopSignal>();
let isCaught = false;
let hasBegun = false;
let hasCome = false;

/** Takes both signals from the system, as early as this is called. Does nothing the second time. */
export function catchStopSignals(): void {
  if (isCaught) return;
  isCaught = true;
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, onSignal);
}

/** Resolves with the first signal to stop. From the call on the caller is the one who ends the process. */
export function stopSignal(): Promise<StopSignal> {
  catchStopSignals();
  hasBegun = true;
  return first.promise;
}

function onSignal(signal: StopSignal): void {
  if (!hasBegun) process.exit(0);
  if (hasCome) process.exit(exitCodes[signal]);
  hasCome = true;
  first.resolve(signal);
}
