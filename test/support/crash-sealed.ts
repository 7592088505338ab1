import { expect } from "vitest";
import { attackAppend, type AppendStage } from "./crash-append.ts";
import { expectSoundLog } from "./crash-audited.ts";
import type { Point, Struck } from "./crash-points.ts";
import type { AuditDatabase } from "./databases.ts";
import { startSigner, type Signing } from "./signing.ts";
import { openSuperuser } from "./superuser.ts";
import { waitUntil } from "./wait-until.ts";

/** A signer at work while appends to its logs are attacked, and whoever looks at its checkpoints meanwhile. */
export interface Sealer extends AsyncDisposable {
  /** As `attackAppend`; then the signer is woken. It seals at most once a second: in the middle of an attack that comes later. */
  attack(stage: AppendStage, point: Point): Promise<Struck>;
  /**
   * All is signed in the end, some of it was before, every checkpoint ever seen is there as it was, and each is of what the log holds now:
   * so no two of them contradict each other.
   */
  expectSealed(tenant: string): Promise<void>;
}

export async function startSealer(database: AuditDatabase, signing: Signing): Promise<Sealer> {
  const signer = await startSigner(database, signing);
  const seen = new Map<string, Set<string>>();
  const look = async (tenant: string): Promise<void> => {
    const notes = seen.get(tenant) ?? new Set();
    seen.set(tenant, notes);
    const kept = await signing.lastNote(tenant); // Before it is stored, too.
    for (const note of [kept, ...(await storedNotes(database, tenant))]) if (note !== "") notes.add(note);
  };
  return {
    async attack(stage, point) {
      const struck = await attackAppend(stage, point);
      signer.wake(stage.tenant);
      await look(stage.tenant);
      return struck;
    },
    async expectSealed(tenant) {
      await waitUntil(async () => await isSealed(database, tenant));
      const before = seen.get(tenant) ?? new Set();
      expect(before.size, "checkpoints before the end").toBeGreaterThan(0);
      const stored = await storedNotes(database, tenant);
      expect(stored.length).toBeGreaterThan(1);
      expect([...before].filter((note) => !stored.includes(note))).toEqual([]);
      await expectSoundLog(database);
    },
    [Symbol.asyncDispose]: () => signer[Symbol.asyncDispose](),
  };
}

/** The checkpoints of a tenant that the database has. */
export async function storedNotes({ superuserUrl }: AuditDatabase, tenant: string): Promise<string[]> {
  await using superuser = await openSuperuser(superuserUrl);
  const text = "SELECT note FROM checkpoints WHERE tenant_id = $1";
  const { rows } = await superuser.query<{ note: string }>(text, [tenant]);
  return rows.map(({ note }) => note);
}

/** Whether a checkpoint that the database has covers all of the tenant's log. */
export async function isSealed({ superuserUrl }: AuditDatabase, tenant: string): Promise<boolean> {
  await using superuser = await openSuperuser(superuserUrl);
  const text =
    "SELECT FROM logs JOIN checkpoints AS c USING (tenant_id) WHERE tenant_id = $1 AND c.tree_size = size";
  return (await superuser.query(text, [tenant])).rowCount === 1;
}
