import { v5 } from "uuid";
import { uuidPattern } from "./page.ts";

/** Names of subjects that are no cases become UUIDs (version 5, RFC 9562) in this namespace: fixed for ever. */
const namespace = "4283aab9-1efb-42b3-b25c-15b184a471c3";

/** The id under which the entries of a subject stand: a case's own, or one made of the name, as of `policy/` and a case type. */
export function subjectId(subject: string): string {
  return uuidPattern.test(subject) ? subject : v5(subject, namespace);
}
