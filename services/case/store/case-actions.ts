/** What was done to something else than a case: a policy, or the delivery of events. */
const otherActions = ["set_policy", "redrive", "skip"];

/** In SQL, whether an entry's action was done to a case. */
export function isOfCase(action: string): string {
  return `${action} NOT IN (${otherActions.map((other) => `'${other}'`).join(", ")})`;
}
