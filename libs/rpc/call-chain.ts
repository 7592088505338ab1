import type { HandlerContext, Interceptor } from "@connectrpc/connect";

import { authenticate, type AuthenticateOptions } from "./authenticate.ts";
import { faultsToStatus, type FaultRules } from "./faults.ts";
import { identifyCall } from "./request-context.ts";
import { requestLog, type RequestLogLine } from "./request-log.ts";

export interface CallChainOptions<R extends string> {
  readonly faults: FaultRules<R>;
  readonly log: (line: RequestLogLine) => void;
  readonly authenticate: AuthenticateOptions<R>;
  /** Run before the body is read, of calls that may be made. */
  readonly gates?: readonly Gate[];
  /** Outermost of all interceptors. */
  readonly trace?: Interceptor;
  /** Innermost, outermost first: validation, and what else belongs next to the handlers. */
  readonly interceptors?: readonly Interceptor[];
}

/** Runs before the body of a call is read; what it throws ends the call. */
export type Gate = (context: HandlerContext) => void | Promise<void>;

export interface CallChain {
  readonly requestGate: Gate;
  readonly interceptors: readonly Interceptor[];
}

/**
 * What every call passes before its handler, in this order:
 *
 *   as soon as its headers are there    identify, describe errors, log, refuse spent deadlines, authenticate, gates
 *   once its body is read               trace, log, describe errors, interceptors
 *
 * For streams the second row does not wait for the body. Errors are described and calls are logged in both rows, since
 * Connect itself refuses calls between the two; the line is written when the call is over.
 */
export function createCallChain<R extends string>(options: CallChainOptions<R>): CallChain {
  const faults = faultsToStatus(options.faults);
  const log = requestLog(options.log);
  const gates: readonly Gate[] = [
    identifyCall,
    faults.watch,
    log.watch,
    // A deadline of 0 has ended the call before it began; handlers would run all the same.
    ({ signal }) => signal.throwIfAborted(),
    authenticate(options.authenticate),
    ...(options.gates ?? []),
  ];
  return {
    async requestGate(context) {
      try {
        for (const gate of gates) await gate(context);
      } catch (error) {
        throw faults.toStatus(error, context);
      }
    },
    interceptors: [
      ...(options.trace ? [options.trace] : []),
      log.interceptor,
      faults.interceptor,
      ...(options.interceptors ?? []),
    ],
  };
}
