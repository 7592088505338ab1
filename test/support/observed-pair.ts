import { randomUUID } from "node:crypto";
import { createAuditClient } from "#libs/client/audit-client.ts";
import { createCaseAdminClient } from "#libs/client/case-admin-client.ts";
import { createCaseClient } from "#libs/client/case-client.ts";
import { patientLimits } from "./bare-limits.ts";
import { content, people, tenant, type PersonName } from "./case-service.ts";
import { makeEvent } from "./events.ts";
import { startProcessPair, type ProcessPair } from "./process-pair.ts";
import { makeSigning } from "./signing.ts";

export interface ObservedPair extends ProcessPair {
  token(person: PersonName): Promise<string>;
}

/**
 * Both services as processes, the audit service signing, with some of all that they measure behind them: calls answered and refused,
 * transitions, entries, deliveries, a token that does not verify, and an event that was rejected and is a dead letter.
 */
export async function startObservedPair(): Promise<ObservedPair> {
  await using opened = new AsyncDisposableStack();
  const signing = opened.use(await makeSigning());
  const pair = opened.use(await startProcessPair({}, { signing }));
  const token = (person: PersonName): Promise<string> =>
    pair.issuer.token({ tenant, sub: person, roles: people[person] });
  await makeTraffic(pair, token);
  const running = opened.move();
  return { ...pair, token, [Symbol.asyncDispose]: () => running.disposeAsync() };
}

async function makeTraffic(pair: ProcessPair, token: ObservedPair["token"]): Promise<void> {
  const source = "caseflow/case";
  const relay = { sub: "squatter", kind: "service", roles: ["event_source"], sources: [source] } as const;
  const to = { url: pair.audit.url, limits: patientLimits };
  await using squatter = createAuditClient({ ...to, token: await pair.issuer.token(relay) });
  const toCases = { url: pair.cases.url, limits: patientLimits };
  await using cases = createCaseClient({ ...toCases, token: await token("caseworker") });
  await using admin = createCaseAdminClient({ ...toCases, token: await token("operator") });
  await using nobody = createCaseClient({ ...toCases, token: "nonsense" });
  const expired = await pair.issuer.token({ sub: "late", roles: ["caseworker"], expiresInSeconds: -60 });
  await using late = createCaseClient({ ...toCases, token: expired });
  const request = () => ({ requestId: randomUUID() });

  // The subject of the policy's event is taken: that event becomes a dead letter.
  const taken = makeEvent({ tenantId: tenant, source, subject: "policy/permit" });
  await squatter.recordEvents({ events: [taken.bytes] });
  const policy = { approvalsRequired: 1, appealWindowDays: 30 };
  await admin.setCasePolicy({ ...request(), caseType: "permit", policy, reason: "rules" });

  const { case: draft } = await cases.createCase({ ...request(), caseType: "licence", content });
  const caseId = draft?.caseId ?? "";
  await cases.submitCase({ ...request(), caseId });
  const refused = [
    cases.submitCase({ ...request(), caseId }),
    nobody.getCase({ caseId }),
    late.getCase({ caseId }),
  ];
  const ended = await Promise.allSettled(refused);
  if (ended.some(({ status }) => status === "fulfilled")) throw new Error("a call was not refused");
}
