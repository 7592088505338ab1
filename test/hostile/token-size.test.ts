import { connect } from "node:http2";
import { once } from "node:events";
import { request } from "node:http";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startKeyServer } from "../support/attack-key-server.ts";
import { createKey, tokenBy } from "../support/attack-keys.ts";
import { goodClaims, startTokenTarget, type TokenTarget } from "../support/attack-token.ts";
import { expectNoLeaks } from "../support/leak-check.ts";

expectNoLeaks();

const key = createKey();
const stack = new AsyncDisposableStack();
let target: TokenTarget;
beforeAll(async () => {
  target = stack.use(await startTokenTarget(stack.use(await startKeyServer([key])).url));
});
afterAll(() => stack.disposeAsync());

const path = "/caseflow.cases.v1.CaseService/CreateCase";
const headersMax = 1024 * 1024;

/** The status of the answer, or the error that ended the stream, over HTTP/2 without limits of the sender's own. */
async function overHttp2(token: string): Promise<string> {
  const session = connect(target.url, { maxSendHeaderBlockLength: headersMax });
  session.on("error", () => {}); // The stream tells.
  try {
    const stream = session.request({
      ":method": "POST",
      ":path": path,
      "content-type": "application/proto",
      authorization: `Bearer ${token}`,
    });
    stream.end();
    const ended = AbortSignal.timeout(5_000);
    const [headers] = await once(stream, "response", { signal: ended });
    return String(headers[":status"]);
  } catch (error) {
    return error instanceof Error && "code" in error ? String(error.code) : String(error);
  } finally {
    session.destroy();
  }
}

async function overHttp1(token: string): Promise<string> {
  const call = request(`${target.url}${path}`, {
    method: "POST",
    headers: { "content-type": "application/proto", authorization: `Bearer ${token}` },
  });
  call.end();
  try {
    const [response] = await once(call, "response", { signal: AbortSignal.timeout(5_000) });
    response.resume();
    return String(response.statusCode);
  } catch (error) {
    return error instanceof Error && "code" in error ? String(error.code) : String(error);
  } finally {
    call.destroy();
  }
}

test.each([9, 20, 60, 100, 500])(
  "a token of %d KB is refused, stores nothing, and others are served",
  async (kilobytes) => {
    const before = await target.stored();
    const token = tokenBy(key, { ...goodClaims(), note: "x".repeat(kilobytes * 750) });
    expect(token.length).toBeGreaterThan(kilobytes * 1_000);
    expect(await overHttp2(token)).toMatch(
      kilobytes <= 60 ? /^401$/ : /^(431|ERR_HTTP2_(SESSION|STREAM)_ERROR)$/,
    );
    expect(await overHttp1(token)).toMatch(/^(401|431)$/);
    expect(await target.stored()).toEqual(before);
    expect((await target.create(tokenBy(key, goodClaims()))).outcome).toBe("ok");
  },
);
