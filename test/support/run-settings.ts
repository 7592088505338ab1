/** The same in every ordinary run; a campaign names others. */
const seedDefault = 20_260_304;

/** How a test runs that is random: `CASEFLOW_SEED` repeats an earlier run, `CASEFLOW_RUNS` makes it thorough. */
export function readRunSettings(runsDefault: number): { readonly seed: number; readonly runs: number } {
  const seed = Number(process.env["CASEFLOW_SEED"] ?? seedDefault);
  const runs = Number(process.env["CASEFLOW_RUNS"] ?? runsDefault);
  if (!Number.isSafeInteger(seed)) throw new Error("CASEFLOW_SEED is no integer");
  if (!Number.isSafeInteger(runs) || runs < 1) throw new Error("CASEFLOW_RUNS is no number of runs");
  return { seed, runs };
}
