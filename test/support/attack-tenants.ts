import { vi } from "vitest";
import { attackSource } from "./attack-request.ts";
import { makeVictimsThings, namesOf, victims } from "./attack-victim.ts";
import { openCase, tenant as victim } from "./case-service.ts";
import { listAllEvents, startPair, type Pair } from "./pair.ts";
import { openSuperuser } from "./superuser.ts";

/** Two tenants on one pair: the victim, who has everything, and the attacker, who has a little of their own. */
export interface Tenants extends Pair {
  readonly victim: string;
  readonly attacker: string;
  /** Another tenant of the attacker's, who has nothing yet. */
  anotherAttacker(): string;
  /** What names something of the victim's and nothing of the attackers', by what it is. */
  readonly known: Readonly<Record<string, string | number>>;
  /** What of the victim's shows in `text`: names of things and what they say, but for the one that was sent. */
  leaks(text: string, sent: string | number): readonly string[];
  /** Resolves once every event has been delivered and sealed, and nothing moves by itself any more. */
  settled(): Promise<void>;
  /** A token with one role, of somebody who is called the same in every tenant. */
  token(role: string, tenant: string | undefined): Promise<string>;
}

/** The victim's name is part of the attackers'. */
const attackers = new RegExp(`${victim}-\\d+`, "g");
const settleMs = 10_000;

export async function startTenants(): Promise<Tenants> {
  await using opened = new AsyncDisposableStack();
  const pair = opened.use(await startPair());
  const { cases, audit } = pair;
  const settled = async () => {
    await untilNone(cases.database.superuserUrl, "SELECT FROM outbox");
    await untilNone(audit.database.superuserUrl, unsealedLogs);
  };

  let count = 0;
  const anotherAttacker = () => `${victim}-${++count}`;
  const attacker = anotherAttacker();
  await openCase(cases, "draft", attacker);
  const victimsCases = await makeVictimsThings(pair);
  await settled();
  const events = await listAllEvents(audit.url, cases.issuer, victim);
  await giveUp(cases.database.superuserUrl, victimsCases.idle);
  const known = namesOf(victimsCases, events);
  const secrets = [
    ...[
      victim,
      ...Object.values(victims),
      ...Object.values(known).filter((name) => typeof name === "string"),
    ],
    ...events.flatMap(({ event }) => [event!.eventId, event!.requestId, event!.subject]),
  ].filter((secret) => secret !== "");

  const tokens = new Map<string, Promise<string>>();
  const running = opened.move();
  return {
    cases,
    audit,
    victim,
    attacker,
    anotherAttacker,
    known,
    leaks(text, sent) {
      const shown = text.replaceAll(attackers, "").toLowerCase();
      const hidden = secrets.filter((secret) => secret.toLowerCase() !== String(sent).toLowerCase());
      return hidden.filter((secret) => shown.includes(secret.toLowerCase()));
    },
    settled,
    token(role, tenant) {
      const key = `${role} of ${tenant}`;
      const token = tokens.get(key) ?? sign(cases.issuer, role, tenant);
      tokens.set(key, token);
      return token;
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

function sign(issuer: Pair["cases"]["issuer"], role: string, tenant: string | undefined): Promise<string> {
  return issuer.token({
    ...(tenant !== undefined && { tenant }),
    sub: role,
    roles: [role],
    ...(role === "event_source" && { sources: [attackSource] }),
  });
}

/** Makes dead letters of the cases' events, which the audit service has nonetheless: what becomes of them moves nothing there. */
async function giveUp(superuserUrl: string, caseIds: readonly string[]): Promise<void> {
  await using client = await openSuperuser(superuserUrl);
  await client.query(
    `INSERT INTO dead_letters (tenant_id, event_id, case_id, version, reason, detail, dead_at)
     SELECT tenant_id, event_id, case_id, version, 'DELIVERY_FAILED', 'the answer was lost', now()
       FROM audit_entries WHERE case_id = ANY($1)`,
    [caseIds],
  );
}

const unsealedLogs = `
  SELECT FROM logs AS l WHERE NOT EXISTS (SELECT FROM checkpoints AS c WHERE c.tenant_id = l.tenant_id AND c.tree_size = l.size)`;

async function untilNone(superuserUrl: string, text: string): Promise<void> {
  await using client = await openSuperuser(superuserUrl);
  const look = async () => {
    const { rowCount } = await client.query(text);
    if (rowCount !== 0) throw new Error(`${rowCount} rows are left of ${text}`);
  };
  await vi.waitFor(look, { timeout: settleMs });
}
