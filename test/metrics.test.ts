import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { connect } from "node:http2";
import { ConnectError } from "@connectrpc/connect";
import { afterAll, beforeAll, expect, test } from "vitest";
import { createAuditClient } from "#libs/client/audit-client.ts";
import { createCaseAdminClient, type CaseAdminClient } from "#libs/client/case-admin-client.ts";
import { createCaseClient, type CaseClient } from "#libs/client/case-client.ts";
import { patientLimits } from "./support/bare-limits.ts";
import { content } from "./support/case-service.ts";
import { makeEvent } from "./support/events.ts";
import { startOtlpReceiver, type OtlpReceiver } from "./support/otlp-receiver.ts";
import { startPostgresProxy, type PostgresProxy } from "./support/postgres-proxy.ts";
import { startProcessPair, type ProcessPair } from "./support/process-pair.ts";
import { scrape, type Scrape } from "./support/scrape.ts";
import { makeSigning } from "./support/signing.ts";
import { openSuperuser } from "./support/superuser.ts";

/* A running pair, and the same traffic for every test: the counts below are all there is. The last two tests alone add to it. */

const waits = { timeout: 20_000 };
const tenant = "tenant-xq1";
const person = "person-xq2";
const supervisor = "person-xq3";
const creates = 7;
const replays = 3;

let opened: AsyncDisposableStack;
let pair: ProcessPair;
let receiver: OtlpReceiver;
let proxy: PostgresProxy;
let caseworker: CaseClient;
let admin: CaseAdminClient;
const secrets: string[] = [tenant, person, supervisor];

const tokenOf = (sub: string, roles: readonly string[], more = {}) =>
  pair.issuer.token({ tenant, sub, roles, ...more });

function caseClient(token: string): CaseClient {
  return opened.use(createCaseClient({ url: pair.cases.url, token, limits: patientLimits }));
}

async function refused(call: Promise<unknown>): Promise<void> {
  await expect(call).rejects.toBeInstanceOf(ConnectError);
}

beforeAll(async () => {
  await using opening = new AsyncDisposableStack();
  receiver = opening.use(await startOtlpReceiver());
  const signing = opening.use(await makeSigning());
  pair = opening.use(
    await startProcessPair(
      { ...receiver.env, OTEL_METRIC_EXPORT_INTERVAL: "200" },
      {
        signing,
        async toCaseDatabase(url) {
          proxy = opening.use(await startPostgresProxy(url));
          return proxy.unixUrl;
        },
      },
    ),
  );
  opened = opening.move();
  caseworker = caseClient(await tokenOf(person, ["caseworker"]));
  await makeTraffic();
});
afterAll(() => opened.disposeAsync());

async function makeTraffic(): Promise<void> {
  // The subject of the policy's event is taken: that event becomes a dead letter.
  const sources = ["caseflow/case"];
  const squatter = await pair.issuer.token({
    sub: "squatter",
    kind: "service",
    roles: ["event_source"],
    sources,
  });
  const audit = opened.use(
    createAuditClient({ url: pair.audit.url, token: squatter, limits: patientLimits }),
  );
  const taken = makeEvent({ tenantId: tenant, source: "caseflow/case", subject: "policy/permit" });
  await audit.recordEvents({ events: [taken.bytes] });
  secrets.push(taken.eventId);
  admin = opened.use(
    createCaseAdminClient({
      url: pair.cases.url,
      token: await tokenOf("operator", ["operator", "supervisor"]),
      limits: patientLimits,
    }),
  );
  const policy = { approvalsRequired: 1, appealWindowDays: 30 };
  await admin.setCasePolicy({ requestId: randomUUID(), caseType: "permit", policy, reason: "rules" });

  const requests = Array.from({ length: creates }, () => ({
    requestId: randomUUID(),
    caseType: "licence",
    content,
  }));
  const ids: string[] = [];
  for (const request of requests) {
    const { case: made } = await caseworker.createCase(request);
    ids.push(made!.caseId);
    secrets.push(made!.caseId, request.requestId);
  }
  for (const request of requests.slice(0, replays)) await caseworker.createCase(request);
  const [caseId = ""] = ids;
  await caseworker.submitCase({ requestId: randomUUID(), caseId });
  await refused(caseworker.submitCase({ requestId: randomUUID(), caseId })); // INVALID_TRANSITION
  await refused(caseworker.submitCase({ requestId: randomUUID(), caseId, expectedVersion: 1 })); // VERSION_MISMATCH
  await refused(caseworker.getCase({ caseId: randomUUID() }));
  await refused(caseClient("nonsense").getCase({ caseId }));
  await refused(
    caseClient(await tokenOf(person, ["caseworker"], { expiresInSeconds: -60 })).getCase({ caseId }),
  );
  await refused(
    caseClient(await tokenOf(supervisor, ["supervisor"])).submitCase({ requestId: randomUUID(), caseId }),
  );

  proxy.cutBefore("server", "INSERT 0");
  await refused(caseworker.createCase({ requestId: randomUUID(), caseType: "licence", content }));
}

/** Each name of the contract, its type and its labels, by where it is. */
const shared: Readonly<Record<string, readonly [string, ...string[]]>> = {
  rpc_server_requests_total: ["counter", "method", "code", "reason"],
  rpc_server_duration_seconds: ["histogram", "method"],
  commit_outcome_unknown_total: ["counter"],
  auth_failures_total: ["counter", "why"],
  db_query_duration_seconds: ["histogram", "statement"],
  db_pool_in_use: ["gauge", "pool"],
  db_pool_waiting: ["gauge", "pool"],
  nodejs_eventloop_delay_p99_seconds: ["gauge"],
  v8js_gc_duration_seconds: ["histogram", "v8js_gc_type"],
  service_ready: ["gauge"],
  build_info: ["gauge", "version", "commit"],
};
const ofCases: typeof shared = {
  ...shared,
  case_transition_total: ["counter", "from", "to", "result"],
  audit_write_total: ["counter", "action", "result"],
  version_conflicts_total: ["counter"],
  outbox_pending: ["gauge"],
  outbox_oldest_pending_age_seconds: ["gauge"],
  event_delivery_seconds: ["histogram"],
  relay_deliveries_total: ["counter", "outcome"],
  dead_letters: ["gauge"],
  dependency_request_duration_seconds: ["histogram", "dependency", "outcome"],
  retry_budget_left: ["gauge", "dependency"],
};
const ofAudit: typeof shared = {
  ...shared,
  audit_log_size: ["gauge"],
  audit_checkpoint_age_seconds: ["gauge"],
};

const seriesOf = (type: string | undefined, name: string) => (type === "histogram" ? `${name}_bucket` : name);

/** Of each metric its type and its labels, as they are. */
function describe({ types, samples }: Scrape, names: Iterable<string>) {
  return Object.fromEntries(
    Array.from(names, (name) => {
      const type = types.get(name);
      const labels = samples.find((sample) => sample.name === seriesOf(type, name))?.labels ?? {};
      return [name, [type, ...Object.keys(labels).filter((label) => label !== "le")]];
    }),
  );
}

/** `auth_failures_total` has no value before somebody was refused; nobody is by the audit service. */
const { auth_failures_total: _, ...unlessRefused } = ofAudit;

test("every metric of the contract is there, with its type and its labels and no others", async () => {
  await expect
    .poll(async () => describe(await scrape(pair.cases.metricsUrl), Object.keys(ofCases)), waits)
    .toEqual(ofCases);
  await expect
    .poll(async () => describe(await scrape(pair.audit.metricsUrl), Object.keys(unlessRefused)), waits)
    .toEqual(unlessRefused);
});

test("every metric that is given is described in docs/metrics.md, with its type and its labels", async () => {
  const rows = (await readFile("docs/metrics.md", "utf8"))
    .split("\n")
    .filter((line) => line.startsWith("| `"));
  const names = (cell: string | undefined) =>
    [...(cell ?? "").matchAll(/`(\w+)`/g)].map(([, name = ""]) => name);
  const documented = Object.fromEntries(
    rows.flatMap((row) => {
      const [, name, type, labels] = row.split("|");
      return names(name).map((own) => [own, [type?.trim(), ...names(labels)]]);
    }),
  );
  for (const { metricsUrl } of [pair.cases, pair.audit]) {
    const given = await scrape(metricsUrl);
    const described = describe(given, given.types.keys());
    expect(documented).toMatchObject(described);
  }
  expect(Object.keys(documented)).toEqual(
    expect.arrayContaining([...Object.keys(ofCases), ...Object.keys(ofAudit)]),
  );
});

test("the same metrics go out by OTLP, with dots, without unit and total", async () => {
  const dotted = [
    ...[
      "rpc.server.requests",
      "rpc.server.duration",
      "case.transition",
      "audit.write",
      "commit.outcome.unknown",
    ],
    ...[
      "version.conflicts",
      "auth.failures",
      "outbox.pending",
      "outbox.oldest_pending_age",
      "event.delivery",
    ],
    ...[
      "relay.deliveries",
      "dead_letters",
      "db.query.duration",
      "db.pool.in_use",
      "db.pool.waiting",
      "build.info",
    ],
    ...["dependency.request.duration", "retry_budget.left", "nodejs.eventloop.delay.p99", "v8js.gc.duration"],
  ];
  const missing = () => dotted.filter((name) => !receiver.metricNames("case").has(name));
  await expect.poll(missing, waits).toEqual([]);
  const missingOfAudit = () =>
    ["audit.log.size", "audit.checkpoint.age"].filter((name) => !receiver.metricNames("audit").has(name));
  await expect.poll(missingOfAudit, waits).toEqual([]);
});

test("what happened is counted once: transitions without replays, refusals, conflicts, unknown outcomes", async () => {
  const create = "caseflow.cases.v1.CaseService/CreateCase";
  const get = "caseflow.cases.v1.CaseService/GetCase";
  const submit = "caseflow.cases.v1.CaseService/SubmitCase";
  const counted = async () => {
    const { sum } = await scrape(pair.cases.metricsUrl);
    const calls = (method: string, code: string, reason = "") =>
      sum("rpc_server_requests_total", { method, code, reason });
    const moved = (from: string, to: string, result: string) =>
      sum("case_transition_total", { from, to, result });
    return {
      answeredCreates: calls(create, "ok"),
      unknownCreates: calls(create, "unavailable", "OUTCOME_UNKNOWN"),
      notFound: calls(get, "not_found", "CASE_NOT_FOUND"),
      strangers: calls(get, "unauthenticated", "UNAUTHENTICATED"),
      forbidden: calls(submit, "permission_denied", "FORBIDDEN"),
      created: moved("none", "draft", "committed"),
      unknown: moved("none", "draft", "unknown"),
      submitted: moved("draft", "submitted", "committed"),
      refused: moved("submitted", "none", "refused"),
      transitions: sum("case_transition_total", { result: "committed" }),
      creates: sum("audit_write_total", { action: "create", result: "committed" }),
      policies: sum("audit_write_total", { action: "set_policy", result: "committed" }),
      conflicts: sum("version_conflicts_total"),
      outcomeUnknown: sum("commit_outcome_unknown_total"),
      malformed: sum("auth_failures_total", { why: "malformed" }),
      expired: sum("auth_failures_total", { why: "expired" }),
      allAuthFailures: sum("auth_failures_total"),
    };
  };
  await expect.poll(counted, waits).toEqual({
    answeredCreates: creates + replays,
    unknownCreates: 1,
    notFound: 1,
    strangers: 2,
    forbidden: 1,
    created: creates,
    unknown: 1,
    submitted: 1,
    refused: 2,
    transitions: creates + 1,
    creates,
    policies: 1,
    conflicts: 1,
    outcomeUnknown: 1,
    malformed: 1,
    expired: 1,
    allAuthFailures: 3,
  });
});

test("the backlog and what became of deliveries are told: one dead letter, and everything else is audited", async () => {
  const told = async () => {
    const { sum } = await scrape(pair.cases.metricsUrl);
    return {
      pending: sum("outbox_pending"),
      ageSeconds: sum("outbox_oldest_pending_age_seconds"),
      deadLetters: sum("dead_letters"),
      rejected: sum("relay_deliveries_total", { outcome: "rejected" }),
      // The create whose answer was lost was committed: it is delivered as the others are.
      applied: sum("relay_deliveries_total", { outcome: "applied" }),
      delivered: sum("event_delivery_seconds_count"),
    };
  };
  await expect.poll(told, waits).toEqual({
    pending: 0,
    ageSeconds: 0,
    deadLetters: 1,
    rejected: 1,
    applied: creates + 2,
    delivered: creates + 2,
  });
  await expect
    .poll(async () => (await scrape(pair.audit.metricsUrl)).sum("audit_log_size"), waits)
    .toBe(creates + 3);
  await expect
    .poll(async () => (await scrape(pair.audit.metricsUrl)).sum("audit_checkpoint_age_seconds"), waits)
    .toBe(0);
});

test("what has never happened is told as 0, where somebody is to be woken when it does", async () => {
  const [cases, audit] = await Promise.all([scrape(pair.cases.metricsUrl), scrape(pair.audit.metricsUrl)]);
  const failures = [
    ["internal", ""],
    ["unknown", ""],
    ["deadline_exceeded", ""],
    ["unavailable", "DEPENDENCY_DOWN"],
    ["unavailable", "OVERLOADED"],
    ["unavailable", "OUTCOME_UNKNOWN"],
  ] as const;
  const failed = ({ sum }: Scrape, method: string) =>
    failures.map(([code, reason]) => sum("rpc_server_requests_total", { method, code, reason }));
  const none = failures.map(() => 0);
  expect(failed(cases, "caseflow.cases.v1.CaseService/AppealCase")).toEqual(none);
  expect(failed(cases, "caseflow.cases.v1.CaseAdminService/GetCasePolicy")).toEqual(none);
  expect(failed(audit, "caseflow.audit.v1.AuditService/RecordEvents")).toEqual(none);
  // A stream's end says little: objectives do not count it.
  const unseen = failures.map(() => undefined);
  expect(failed(cases, "caseflow.cases.v1.CaseService/WatchCases")).toEqual(unseen);
  for (const outcome of ["unreachable", "refused", "failed"])
    expect(cases.sum("relay_deliveries_total", { outcome })).toBe(0);
  expect(audit.sum("caseflow_audit_rejections_total", { reason: "EVENT_ID_REUSED" })).toBe(0);
  for (const why of ["rolled_back", "forked", "damaged", "state_unusable"])
    expect(audit.sum("caseflow_log_refusals_total", { why })).toBe(0);
});

test("the buckets of a histogram grow to its count, and its sum lies within what they allow", async () => {
  for (const { metricsUrl } of [pair.cases, pair.audit]) {
    const { samples, types } = await scrape(metricsUrl);
    const labelsOf = (labels: Readonly<Record<string, string>>) =>
      JSON.stringify(Object.entries(labels).filter(([key]) => key !== "le"));
    let looked = 0;
    for (const [name] of [...types].filter(([, type]) => type === "histogram")) {
      const own = (suffix: string) =>
        Map.groupBy(
          samples.filter((sample) => sample.name === name + suffix),
          ({ labels }) => labelsOf(labels),
        );
      const [counts, sums] = [own("_count"), own("_sum")];
      for (const [key, buckets] of own("_bucket")) {
        const values = buckets.map(({ value }) => value);
        const count = counts.get(key)?.[0]?.value;
        expect(values).toEqual(values.toSorted((a, b) => a - b));
        expect(buckets.at(-1)?.labels["le"]).toBe("+Inf");
        expect(values.at(-1)).toBe(count);
        const least = buckets.reduce((total, { value }, index) => {
          const floor = Number(buckets[index - 1]?.labels["le"] ?? 0);
          return total + (value - (buckets[index - 1]?.value ?? 0)) * floor;
        }, 0);
        expect(sums.get(key)?.[0]?.value).toBeGreaterThanOrEqual(least);
        looked += 1;
      }
    }
    expect(looked).toBeGreaterThan(5);
  }
});

test("no label holds a tenant, a principal, or the id of a case, an event or a request", async () => {
  const values = (
    await Promise.all([pair.cases, pair.audit].map(({ metricsUrl }) => scrape(metricsUrl)))
  ).flatMap(({ samples }) => samples.flatMap(({ labels }) => Object.values(labels)));
  const idPattern = /[0-9a-f]{8}-[0-9a-f]{4}-/;
  const telling = values.filter(
    (value) => idPattern.test(value) || secrets.some((secret) => value.includes(secret)),
  );
  expect(telling).toEqual([]);
});

test("an event behind a dead letter of its case has no age, another event has one while it waits", async () => {
  const told = async () => {
    const { sum } = await scrape(pair.cases.metricsUrl);
    return {
      pending: sum("outbox_pending"),
      aged: sum("outbox_oldest_pending_age_seconds")! > 0,
      deadLetters: sum("dead_letters"),
    };
  };
  const policy = { approvalsRequired: 2, appealWindowDays: 30 };
  await admin.setCasePolicy({ requestId: randomUUID(), caseType: "permit", policy, reason: "more rules" });
  await expect.poll(told, waits).toEqual({ pending: 1, aged: false, deadLetters: 1 });

  await using superuser = await openSuperuser(pair.caseDatabase.superuserUrl);
  await superuser.query("BEGIN");
  await superuser.query("LOCK TABLE tombstones IN ACCESS EXCLUSIVE MODE"); // The relay reads it with each event.
  await caseworker.createCase({ requestId: randomUUID(), caseType: "licence", content });
  await expect.poll(told, waits).toEqual({ pending: 2, aged: true, deadLetters: 1 });
  await superuser.query("ROLLBACK");
  await expect.poll(told, waits).toEqual({ pending: 1, aged: false, deadLetters: 1 });
});

test("methods and paths that do not exist, and ids and tenants never seen before, add no series", async () => {
  // The buckets of what has no value yet would come: so each kind of call is made once before.
  await strangeCalls(1, 1);
  const before = await settled();
  await strangeCalls(1_000, 30);
  const after = await settled();
  const added = [...after].filter((series) => !before.has(series));
  expect(added).toEqual([]);
});

/** Series by name and labels, once the calls so far are counted: two looks in a row find as many. */
async function settled(): Promise<ReadonlySet<string>> {
  const look = async () => {
    const { samples, sum } = await scrape(pair.cases.metricsUrl);
    // How garbage is collected, and what the relay does meanwhile, is nobody's request.
    const own = samples.filter(({ name }) => /^(rpc|auth|case|audit|commit|version|db)_/.test(name));
    const keys = own.map(({ name, labels }) => `${name} ${JSON.stringify(labels)}`);
    return { series: new Set(keys), calls: sum("rpc_server_requests_total") };
  };
  let last = await look();
  await expect
    .poll(async () => {
      const before = last;
      last = await look();
      return last.calls === before.calls;
    }, waits)
    .toBe(true);
  return last.series;
}

/** Calls of so many methods and services that there are not, and so many callers who were never seen before. */
async function strangeCalls(paths: number, strangers: number): Promise<void> {
  const session = connect(pair.cases.url);
  const post = (path: string) =>
    new Promise<void>((resolve, reject) => {
      const stream = session.request({
        ":method": "POST",
        ":path": path,
        "content-type": "application/grpc",
      });
      stream.on("error", reject).on("close", resolve).resume().end();
    });
  for (let made = 0; made < paths; made += 2) {
    await Promise.all([
      post(`/caseflow.cases.v1.CaseService/Method${randomUUID()}`),
      post(`/strange.Service${randomUUID()}/Get`),
      fetch(`${pair.cases.metricsUrl}/metrics${randomUUID()}`).then((answer) => answer.text()),
    ]);
  }
  session.close();
  for (let made = 0; made < strangers; made++) {
    const name = randomUUID();
    const roles = ["caseworker"];
    const token = await pair.issuer.token({ tenant: `t-${name}`, sub: `s-${name}`, roles });
    await using stranger = createCaseClient({ url: pair.cases.url, token, limits: patientLimits });
    const caseType = `type_${name.replaceAll("-", "")}`;
    await stranger.createCase({ requestId: randomUUID(), caseType, content });
    await refused(stranger.getCase({ caseId: randomUUID() }));
    await using nobody = createCaseClient({
      url: pair.cases.url,
      token: randomUUID(),
      limits: patientLimits,
    });
    await refused(nobody.getCase({ caseId: randomUUID() }));
  }
}
