import type { IncomingMessage, ServerResponse } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { getHeapSnapshot } from "node:v8";

import { takeCpuProfile } from "#libs/debug/cpu-profile.ts";

import type { AuthFailure } from "./authenticate.ts";
import type { Principal } from "./principal.ts";
import { TokenError, type TokenVerifier } from "./verify-token.ts";

export interface OperatorPagesOptions {
  readonly verifier: TokenVerifier;
  /** Whoever holds it is let in. */
  readonly role: string;
  /** What `/settings` tells. */
  readonly settings: unknown;
  /** Those of this tenant alone may take profiles and heap snapshots; `undefined`: there are no such pages. */
  readonly debugTenant: string | undefined;
  /** Told of each request before anything is given, and of those that are refused. */
  readonly onAccess: (access: OperatorAccess) => void;
  readonly onAuthFailure: (why: AuthFailure) => void;
}

export interface OperatorAccess {
  readonly page: string;
  /** HTTP's; 200: granted. */
  readonly status: number;
  readonly tenant: string | undefined;
  readonly principal: string | undefined;
}

/** Takes a request for one of these pages, and answers it in its own time; false for any other. */
export type OperatorPages = (request: IncomingMessage, response: ServerResponse) => boolean;

interface Page {
  readonly method: "GET" | "POST";
  readonly isDebugging: boolean;
  readonly give: (ask: Ask) => Promise<void>;
}

interface Ask {
  readonly query: URLSearchParams;
  readonly response: ServerResponse;
  /** Aborted when whoever asked has gone, or the server ends. */
  readonly gone: AbortSignal;
}

/** Refused; the message goes out as it is. */
class PageError extends Error {
  override readonly name = "PageError";
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

const profileSecondsMax = 60;
const profileSecondsDefault = 10;
/** Whoever does not take what they asked for is cut off: a heap snapshot is held until it is taken. */
const stalledMs = 60_000;

/**
 * Pages that show the process as it is, to operators with a bearer token: `GET /settings`, and where debugging is on
 * `POST /debug/profile?seconds=10` and `POST /debug/heap`, one of these at a time.
 */
export function createOperatorPages(options: OperatorPagesOptions): OperatorPages {
  const { settings, debugTenant, onAccess } = options;
  const own: Readonly<Record<string, Page>> = {
    "/settings": { method: "GET", isDebugging: false, give: (ask) => giveSettings(ask, settings) },
    ...(debugTenant !== undefined && {
      "/debug/profile": { method: "POST", isDebugging: true, give: giveProfile },
      "/debug/heap": { method: "POST", isDebugging: true, give: giveHeap },
    }),
  };
  let isDebugging = false;

  async function answer(page: Page, path: string, request: IncomingMessage, ask: Ask): Promise<void> {
    const tell = (status: number, principal?: Principal) =>
      onAccess({ page: path, status, tenant: principal?.tenantId, principal: principal?.id });
    let principal: Principal | undefined;
    try {
      if (request.method !== page.method) throw new PageError(405, "method not allowed");
      principal = await identify(options, request);
      if (page.isDebugging && principal.tenantId !== debugTenant) throw new PageError(403, "not allowed");
      if (page.isDebugging && isDebugging) throw new PageError(409, "another one is being taken");
    } catch (error) {
      const { status, message } = error instanceof PageError ? error : new PageError(500, "internal error");
      tell(status, principal);
      return refuse(ask.response, status, message);
    }
    tell(200, principal);
    if (ask.gone.aborted) return; // A snapshot stops the process: not for nobody.
    isDebugging ||= page.isDebugging;
    try {
      await page.give(ask);
    } catch (error) {
      if (error instanceof PageError) refuse(ask.response, error.status, error.message);
      else ask.response.destroy(); // Gone, or half given.
    } finally {
      if (page.isDebugging) isDebugging = false;
    }
  }

  return (request, response) => {
    const [path = "", query] = request.url?.split("?", 2) ?? [];
    const page = Object.hasOwn(own, path) ? own[path] : undefined;
    if (page === undefined) return false;
    const gone = new AbortController();
    response.once("close", () => gone.abort());
    request.resume(); // A body says nothing here.
    void answer(page, path, request, { query: new URLSearchParams(query), response, gone: gone.signal });
    return true;
  };
}

async function identify(
  { verifier, role, onAuthFailure }: OperatorPagesOptions,
  { headers }: IncomingMessage,
): Promise<Principal> {
  const token = /^Bearer (\S+)$/i.exec(headers.authorization ?? "")?.[1];
  const refused = (why: AuthFailure, status: number, message: string) => {
    onAuthFailure(why);
    return new PageError(status, message);
  };
  if (token === undefined) throw refused("missing", 401, "a bearer token is required");
  const principal = await verifier.verify(token).catch((error: unknown) => {
    if (!(error instanceof TokenError)) throw error;
    throw refused(error.why, error.why === "keys_unavailable" ? 503 : 401, error.message);
  });
  if (!principal.roles.includes(role)) throw refused("forbidden", 403, "not allowed");
  return principal;
}

async function giveSettings({ response }: Ask, settings: unknown): Promise<void> {
  response.writeHead(200, { "content-type": "application/json", "cache-control": "no-store" });
  response.end(`${JSON.stringify(settings)}\n`);
}

async function giveProfile({ query, response, gone }: Ask): Promise<void> {
  const seconds = Number(query.get("seconds") ?? profileSecondsDefault);
  if (!(seconds > 0 && seconds <= profileSecondsMax)) {
    throw new PageError(400, `seconds is a number above 0, and at most ${profileSecondsMax}`);
  }
  response.socket?.setTimeout(seconds * 1_000 + stalledMs);
  const profile = await takeCpuProfile(seconds * 1_000, gone);
  await send(response, "cpuprofile", Readable.from([profile]), gone);
}

async function giveHeap({ response, gone }: Ask): Promise<void> {
  response.socket?.setTimeout(stalledMs);
  await send(response, "heapsnapshot", getHeapSnapshot(), gone);
}

async function send(
  response: ServerResponse,
  extension: string,
  content: Readable,
  signal: AbortSignal,
): Promise<void> {
  response.writeHead(200, {
    "content-type": "application/json",
    "content-disposition": `attachment; filename="${process.pid}.${extension}"`,
    "cache-control": "no-store",
    connection: "close", // It has a time limit of its own.
  });
  await pipeline(content, response, { signal });
}

function refuse(response: ServerResponse, status: number, message: string): void {
  response.writeHead(status, {
    "content-type": "text/plain; charset=utf-8",
    "cache-control": "no-store",
    ...(status === 401 && { "www-authenticate": "Bearer" }),
  });
  response.end(message);
}
