import { builtInPolicy, type Policy } from "./case.ts";
import { isBlank, refuse, type Refused } from "./decision.ts";

/** The rules as somebody sets them. */
export type PolicyRules = Omit<Policy, "version">;

/** Decides whether the rules of a case type may become `rules`. Staleness is judged before anything else. */
export function setPolicy(
  current: Policy | undefined,
  rules: PolicyRules,
  expectedVersion: number | undefined,
  reason: string,
): { readonly accepted: true; readonly next: Policy } | Refused {
  const { version } = current ?? builtInPolicy;
  if (expectedVersion !== undefined && expectedVersion !== version) {
    return refuse("VERSION_MISMATCH", { current_version: String(version) });
  }
  if (isBlank(reason)) return refuse("REASON_REQUIRED");
  return { accepted: true, next: { ...rules, version: version + 1 } };
}
