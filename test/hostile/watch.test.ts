import { randomUUID } from "node:crypto";
import { expect, test } from "vitest";
import { createCaseClient } from "#libs/client/case-client.ts";
import { content, startCaseService } from "../support/case-service.ts";
import { expectNoLeaks } from "../support/leak-check.ts";
import { openSuperuser } from "../support/superuser.ts";
import { readWatchChanges } from "../support/watch-settings.ts";
import { startWatch, type Watcher } from "../support/watcher.ts";

expectNoLeaks();

const writers = 20;
const changesPerCase = 10;
const reconnects = 3;
const total = readWatchChanges(1_000);

test(
  "many changes by 20 writers reach a watch that is cut three times: each version once, a case's in order",
  { timeout: 600_000 },
  async ({ annotate }) => {
    await using cases = await startCaseService({ config: { relay: "off", poolMax: 20 } });
    const seen: { caseId: string; version: number }[] = [];
    await using auditor = createCaseClient({ url: cases.url, token: await cases.token("auditor") });
    let watch: Watcher = startWatch(auditor);
    await watch.until((messages) => messages.length > 0);

    const startedAt = performance.now();
    const writing = Promise.all(Array.from({ length: writers }, () => write(cases)));
    for (let cut = 1; cut <= reconnects; cut++) {
      const enough = Math.floor((total / (reconnects + 1)) * cut);
      await watch.until(() => seen.length + count(watch) >= enough);
      await watch.cut();
      seen.push(...changesOf(watch));
      watch = startWatch(auditor, watch.resumeToken);
    }
    await writing;
    const writtenMs = performance.now() - startedAt;
    await watch.until(() => seen.length + count(watch) >= total);
    // Whatever came twice, or out of nowhere, would come before the change that follows.
    const last = await createCase(cases);
    await watch.until((messages) => messages.some((message) => message.case?.caseId === last));
    seen.push(...changesOf(watch).filter(({ caseId }) => caseId !== last));
    await watch.cut();
    await annotate(`${total} changes written in ${Math.round(writtenMs)} ms`);

    const byCase = Map.groupBy(seen, ({ caseId }) => caseId);
    expect(byCase.size).toBe(total / changesPerCase);
    const inOrder = Array.from({ length: changesPerCase }, (_, index) => index + 1);
    for (const [caseId, changes] of byCase) {
      expect(
        changes.map(({ version }) => version),
        caseId,
      ).toEqual(inOrder);
    }
    await using superuser = await openSuperuser(cases.database.superuserUrl);
    const { rows } = await superuser.query("SELECT count(*)::integer AS entries FROM audit_entries");
    expect(rows[0]).toEqual({ entries: total + 1 });
  },
);

type Cases = Awaited<ReturnType<typeof startCaseService>>;

async function createCase(cases: Cases): Promise<string> {
  const caseworker = await cases.as("caseworker");
  const created = await caseworker.createCase({ requestId: randomUUID(), caseType: "permit", content });
  return created.case!.caseId;
}

/** One writer's changes: cases of ten versions, one after the other. */
async function write(cases: Cases): Promise<void> {
  const caseworker = await cases.as("caseworker");
  for (let done = 0; done < total / writers; done += changesPerCase) {
    const caseId = await createCase(cases);
    for (let version = 2; version <= changesPerCase; version++) {
      const updateMask = { paths: ["title"] };
      await caseworker.updateCase({
        requestId: randomUUID(),
        caseId,
        content: { ...content, title: `${version}` },
        updateMask,
      });
    }
  }
}

function count({ messages }: Watcher): number {
  return messages.length - 1; // The first is only a token, and so is one after a long quiet.
}

function changesOf({ messages }: Watcher): { caseId: string; version: number }[] {
  return messages.flatMap((message) =>
    message.case ? [{ caseId: message.case.caseId, version: message.case.version }] : [],
  );
}
