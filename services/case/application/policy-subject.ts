import { v5 } from "uuid";

/** UUIDv5 names (RFC 9562) of policies are made in this namespace: fixed for ever. */
const namespace = "4283aab9-1efb-42b3-b25c-15b184a471c3";

/** The subject of the events of a case type's policy. */
export function policySubject(caseType: string): string {
  return `policy/${caseType}`;
}

/** The id under which a policy's entries stand, made of the subject of their events. */
export function policyId(subject: string): string {
  return v5(subject, namespace);
}
