import type { MessageInitShape } from "@bufbuild/protobuf";
import type { CaseClient } from "#libs/client/case-client.ts";
import type { Case } from "#libs/gen/caseflow/cases/v1/case_pb.ts";
import type { HistoryEntry, ListCasesRequestSchema } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";

const pageSize = 500;

/** Every case that a query finds, newest first, read page by page. */
export async function* readCases(
  cases: CaseClient,
  query: MessageInitShape<typeof ListCasesRequestSchema>,
): AsyncGenerator<Case> {
  for (let pageToken = "", more = true; more; more = pageToken !== "") {
    const page = await cases.listCases({ ...query, pageSize, pageToken });
    yield* page.cases;
    pageToken = page.nextPageToken;
  }
}

/** The whole history of a case, oldest first, read page by page. */
export async function* readHistory(cases: CaseClient, caseId: string): AsyncGenerator<HistoryEntry> {
  for (let pageToken = "", more = true; more; more = pageToken !== "") {
    const page = await cases.getCaseHistory({ caseId, pageSize, pageToken });
    yield* page.entries;
    pageToken = page.nextPageToken;
  }
}

/** The person who acted, whichever program was in between. */
export function personOf({ actor }: HistoryEntry): string {
  return actor?.onBehalfOf || (actor?.id ?? "");
}
