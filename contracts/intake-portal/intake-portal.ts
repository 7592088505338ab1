import { type CallOptions, ConnectError } from "@connectrpc/connect";
import { v5 } from "uuid";
import { type CaseClient, createCaseClient } from "#libs/client/case-client.ts";
import { type Case, CaseState } from "#libs/gen/caseflow/cases/v1/case_pb.ts";

import { explainRefusal } from "./explain-refusal.ts";

/** What an applicant has filled in. */
export interface Application {
  /** UUID, given once and kept across attempts: handing the same application in again has no further effect. */
  readonly id: string;
  /** What the applicant knows it by. */
  readonly number: string;
  readonly title: string;
  readonly summary: string;
  readonly applicant: { readonly name: string; readonly contact: string };
}

export type Receipt =
  | { readonly accepted: true; readonly caseId: string; readonly handedInBefore: boolean }
  /** What the applicant is told. */
  | { readonly accepted: false; readonly explanation: string };

export interface IntakePortal extends AsyncDisposable {
  /** Opens a case for an application and hands it in. Throws only when it may have taken effect or not. */
  handIn(application: Application): Promise<Receipt>;
  /** What the applicant is told about where the case stands. */
  tellProgress(caseId: string): Promise<string>;
}

const deadlineMs = 3_000;
const caseType = "permit";

/** The portal that takes applications in. `url` and `token` are of the case service. */
export function createIntakePortal(options: { readonly url: string; readonly token: string }): IntakePortal {
  const cases = createCaseClient({ ...options, limits: { defaultTimeoutMs: deadlineMs } });
  return {
    async handIn(application) {
      try {
        return await handIn(cases, application);
      } catch (error) {
        const explanation = explainRefusal(ConnectError.from(error));
        if (explanation === undefined) throw error;
        return { accepted: false, explanation };
      }
    },
    async tellProgress(caseId) {
      try {
        const { case: found } = await cases.getCase({ caseId });
        return describeProgress(found);
      } catch (error) {
        const explanation = explainRefusal(ConnectError.from(error));
        if (explanation === undefined) throw error;
        return explanation;
      }
    },
    [Symbol.asyncDispose]: () => cases[Symbol.asyncDispose](),
  };
}

async function handIn(cases: CaseClient, application: Application): Promise<Receipt> {
  const { id, number, title, summary, applicant } = application;
  let handedInBefore = false;
  const options: CallOptions = {
    headers: { "x-correlation-id": number },
    onHeader: (headers) => (handedInBefore = headers.get("caseflow-replayed") === "true"),
  };
  const opened = await cases.createCase(
    {
      requestId: v5("open", id),
      caseType,
      externalReference: number,
      content: { title, summary, people: [{ ...applicant, role: "applicant" }] },
    },
    options,
  );
  const { caseId = "", version = 0 } = opened.case ?? {};
  await cases.submitCase({ requestId: v5("submit", id), caseId, expectedVersion: version }, options);
  return { accepted: true, caseId, handedInBefore };
}

function describeProgress(found: Case | undefined): string {
  switch (found?.state) {
    case CaseState.DRAFT:
      return "Your application is not handed in yet.";
    case CaseState.SUBMITTED:
    case CaseState.UNDER_REVIEW:
      return "Your application is being reviewed.";
    case CaseState.APPROVED:
    case CaseState.REJECTED: {
      const outcome = found.state === CaseState.APPROVED ? "approved" : "rejected";
      const day =
        found.decidedAt && new Date(Number(found.decidedAt.seconds) * 1_000).toISOString().slice(0, 10);
      return `Your application ${found.externalReference} was ${outcome} on ${day}.`;
    }
    default:
      return "Your application is in hand."; // A state that this portal does not know.
  }
}
