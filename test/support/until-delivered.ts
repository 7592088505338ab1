import { openSuperuser } from "./superuser.ts";
import { waitUntil } from "./wait-until.ts";

/** Resolves once nothing of the case database waits for its delivery. */
export async function untilDelivered({ superuserUrl }: { readonly superuserUrl: string }): Promise<void> {
  await using superuser = await openSuperuser(superuserUrl);
  await waitUntil(async () => (await superuser.query("SELECT FROM outbox")).rowCount === 0);
}
