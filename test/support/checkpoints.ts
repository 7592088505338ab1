import { openSuperuser } from "./superuser.ts";

/** A note in the form of a checkpoint; the root is made up, and nobody signed it. */
export function checkpointNote(tenant: string, treeSize: number): string {
  const origin = `log.test/${tenant}`;
  return `${origin}\n${treeSize}\n${"A".repeat(43)}=\n\n— ${origin} ${"S".repeat(92)}\n`;
}

/** Stores a checkpoint of so many leaves, as the signer would; returns its note. */
export async function storeCheckpoint(
  superuserUrl: string,
  tenant: string,
  treeSize: number,
): Promise<string> {
  await using superuser = await openSuperuser(superuserUrl);
  const note = checkpointNote(tenant, treeSize);
  const text = "INSERT INTO checkpoints (tenant_id, tree_size, note, sealed_at) VALUES ($1, $2, $3, now())";
  await superuser.query(text, [tenant, treeSize, note]);
  return note;
}
