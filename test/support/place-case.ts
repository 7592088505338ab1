import type { CaseState } from "#services/case/domain/case.ts";
import { transitions } from "#services/case/domain/transitions.ts";
import { openSuperuser } from "./superuser.ts";

/**
 * Moves a case on to `state` by hand-written entries, for states that no method leads to yet. The database's own
 * constraints hold: the entries form a chain that the state table allows. Written as the superuser.
 */
export async function placeCase(
  superuserUrl: string,
  caseId: string,
  path: readonly CaseState[],
): Promise<void> {
  await using client = await openSuperuser(superuserUrl);
  for (const to of path) {
    const { rows } = await client.query<{ state: CaseState }>("SELECT state FROM cases WHERE case_id = $1", [
      caseId,
    ]);
    const from = rows[0]?.state;
    const row = transitions.find((t) => t.from === from && t.to.includes(to));
    if (!row) throw new Error(`the state table has no way from ${from} to ${to}`);
    await client.query(
      `WITH entry AS (
           INSERT INTO audit_entries (tenant_id, case_id, version, action, from_state, to_state, previous_version,
                                      principal_id, request_id, event_id, event, event_digest, recorded_at)
           SELECT tenant_id, case_id, version + 1, $2, state, $3, version,
                  'placed', gen_random_uuid(), gen_random_uuid(), 'placed'::bytea, sha256('placed'::bytea), now()
             FROM cases WHERE case_id = $1
           RETURNING case_id, version, to_state
         )
         UPDATE cases c SET version = e.version, state = e.to_state FROM entry e WHERE c.case_id = e.case_id`,
      [caseId, row.action, to],
    );
  }
}
