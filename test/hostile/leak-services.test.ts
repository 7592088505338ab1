import { once } from "node:events";
import { request } from "node:http";
import { createServer } from "node:net";
import { expect, test } from "vitest";
import { startAuditService } from "../support/audit-service.ts";
import { openCase, startCaseService } from "../support/case-service.ts";
import { listenerOf, startCuttingProxy, throughProxy } from "../support/cutting-proxy.ts";
import { cloneCaseDatabase } from "../support/databases.ts";
import { watchLeaks } from "../support/leak-watch.ts";
import { listAllEvents, startPair } from "../support/pair.ts";
import { refusalOf } from "../support/reason-of.ts";

/* What the services leave behind when they have stopped: nothing, whatever they met before. */

test("both services, a case's life and its delivery leave nothing open", async () => {
  using watch = watchLeaks();
  {
    await using pair = await startPair({ relayPollMs: 50 });
    await openCase(pair.cases, "closed");
    await expect.poll(() => listAllEvents(pair.audit.url, pair.audit.issuer)).toHaveLength(6);
  }
  expect(await watch.left()).toEqual([]);
});

test("a caller over HTTP/1.1 that has hung up leaves nothing open", async () => {
  using watch = watchLeaks();
  {
    await using cases = await startCaseService({ config: { relay: "off" } });
    const authorization = `Bearer ${await cases.token("auditor")}`;
    const call = request(`${cases.url}/caseflow.cases.v1.CaseService/ListCases`, {
      agent: false,
      method: "POST",
      headers: { connection: "close", "content-type": "application/json", authorization },
    });
    call.end("{}");
    const [response] = await once(call, "response");
    expect(response.statusCode).toBe(200);
    await once(response.resume(), "close");
  }
  expect(await watch.left()).toEqual([]);
});

test("a service whose database and whose audit service are away leaves nothing open", async () => {
  using watch = watchLeaks();
  {
    await using database = await cloneCaseDatabase();
    await using front = await startCuttingProxy(listenerOf(database.appUrl));
    const away = throughProxy(database.appUrl, front);
    await using cases = await startCaseService({ database: { ...database, appUrl: away } });
    await openCase(cases, "submitted");
    front.refusing = true;
    front.cutAll();
    expect(await refusalOf(openCase(cases))).toBe("Unavailable DEPENDENCY_DOWN");
  }
  expect(await watch.left()).toEqual([]);
});

test.each([
  ["case", startCaseService],
  ["audit", startAuditService],
])("a %s service that cannot have its port leaves nothing open", async (_, start) => {
  using watch = watchLeaks();
  const squatter = createServer().listen(0, "127.0.0.1");
  await once(squatter, "listening");
  const address = squatter.address();
  if (address === null || typeof address === "string") throw new Error("it listens on TCP");
  await expect(start({ config: { port: address.port } })).rejects.toThrow(/port/i);
  squatter.close();
  expect(await watch.left()).toEqual([]);
});
