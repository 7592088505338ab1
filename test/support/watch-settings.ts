/** How many changes the watch test makes: `CASEFLOW_WATCH_CHANGES`, a multiple of 200, such as 10000 for a campaign. */
export function readWatchChanges(fallback: number): number {
  const changes = Number(process.env["CASEFLOW_WATCH_CHANGES"] ?? fallback);
  if (changes >= 200 && changes % 200 === 0) return changes;
  throw new Error("CASEFLOW_WATCH_CHANGES is no multiple of 200");
}
