import { pathToString } from "@bufbuild/protobuf/reflect";
import { durationFromMs } from "@bufbuild/protobuf/wkt";
import type { DescMethod } from "@bufbuild/protobuf";
import { ValidationError } from "@bufbuild/protovalidate";
import {
  Code,
  ConnectError,
  createContextKey,
  type createHandlerContext,
  type ContextValues,
  type HandlerContext,
  type Interceptor,
} from "@connectrpc/connect";

import { Fault, type FaultField } from "#libs/fault/fault.ts";
import {
  BadRequestSchema,
  ErrorInfoSchema,
  RequestInfoSchema,
  RetryInfoSchema,
} from "#libs/gen/google/rpc/error_details_pb.ts";

import { mapIterable } from "./map-iterable.ts";
import { factsOf, requestIdKey, type CallFacts } from "./request-context.ts";

export interface FaultRules<R extends string> {
  /** `ErrorInfo.domain`. */
  readonly domain: string;
  readonly codeByReason: Readonly<Record<R, Code>>;
  /** The reason of errors that come from Connect, or as a plain ConnectError from a handler, by their code. */
  readonly connectReasons: Readonly<Partial<Record<Code, R>>>;
  /** Told once of each error that the caller is told nothing of. */
  readonly onUnexpected: (error: unknown, call: CallFacts) => void;
}

/** What of a call tells its errors apart. */
export interface Call {
  readonly values: ContextValues;
  readonly method: DescMethod;
  readonly signal: AbortSignal;
}

export interface FaultsToStatus {
  /** What the caller gets for anything thrown. */
  readonly toStatus: (error: unknown, call: Call) => ConnectError;
  /**
   * For the errors that Connect makes before the interceptors (a message that is too large or not to be parsed, an unknown
   * compression) and after them (an answer that is too large).
   */
  readonly watch: (context: HandlerContext) => void;
  /** For errors of handlers and of the interceptors inside of this one. */
  readonly interceptor: Interceptor;
}

type Details = ConnectError["details"];

/** Error details travel in headers, which are short. */
const messageCharsMax = 512;
const fieldsMax = 32;

/** The error that a call ended with, as its caller got it; `undefined` where it ended without. */
export const statusKey = createContextKey<ConnectError | undefined>(undefined, { description: "status" });

/** Set once the request was read, for streams before that. From then on an error is ours. */
const enteredKey = createContextKey(false, { description: "entered" });

/**
 * Turns errors into what callers branch on: a code, and `google.rpc.ErrorInfo` with reason, domain and metadata. Every
 * error has `RequestInfo` with the id of the call; `BadRequest` names fields, `RetryInfo` says when waiting helps.
 *
 * - a Fault has the code of its reason;
 * - a ConnectError keeps its code, and has the reason of that code;
 * - what follows from the caller's own cancelling or deadline has the code of that;
 * - anything else, errors of other services among it, is INTERNAL, without a word about the cause.
 */
export function faultsToStatus<R extends string>(rules: FaultRules<R>): FaultsToStatus {
  const ours = new WeakSet<ConnectError>();

  function toStatus(error: unknown, call: Call): ConnectError {
    const status = translate(rules, error, call);
    if (status.code === Code.Internal) rules.onUnexpected(error, factsOf(call.values, call.method));
    status.details = [...status.details, ...identify(rules, status, call)];
    ours.add(status);
    return status;
  }

  /** Describes an error of Connect's own in place, since that very object is what gets written. */
  function describe(error: unknown, call: Call): void {
    const entered = call.values.get(enteredKey);
    if (!(error instanceof Error)) return;
    if (error instanceof ConnectError ? ours.has(error) : entered) return;
    const { code, rawMessage, metadata, details, cause } = toStatus(
      entered ? error : blameCaller(error),
      call,
    );
    Object.setPrototypeOf(error, ConnectError.prototype);
    Object.assign(error, { name: "ConnectError", code, rawMessage, metadata, details, cause });
  }

  function watch(context: HandlerContext): void {
    // It has `abort`, which its type keeps to Connect. Connect calls it with each error of the call before it writes it.
    const controller = context as ReturnType<typeof createHandlerContext>;
    const { abort } = controller;
    controller.abort = (error) => {
      describe(error, context);
      if (error instanceof ConnectError) context.values.set(statusKey, error);
      abort(error);
    };
  }

  const interceptor: Interceptor = (next) => async (request) => {
    const call = { values: request.contextValues, method: request.method, signal: request.signal };
    const rethrow = (error: unknown): never => {
      throw toStatus(error, call);
    };
    call.values.set(enteredKey, true);
    try {
      if (!request.stream) return await next(request);
      const response = await next({
        ...request,
        message: mapIterable(request.message, {
          onError: (error) => {
            throw blameCaller(error);
          },
        }),
      });
      if (!response.stream) return response;
      return { ...response, message: mapIterable(response.message, { onError: rethrow }) };
    } catch (error) {
      return rethrow(error);
    }
  };

  return { toStatus, watch, interceptor };
}

/** A request that cannot be read is the caller's mistake; Connect says INTERNAL to bytes that are no message. */
function blameCaller(error: unknown): ConnectError {
  if (error instanceof ConnectError && error.code !== Code.Internal) return error;
  const { rawMessage, metadata } = ConnectError.from(error);
  return new ConnectError(rawMessage, Code.InvalidArgument, metadata, undefined, error);
}

/** Without the details that every status has. */
function translate<R extends string>(rules: FaultRules<R>, error: unknown, call: Call): ConnectError {
  if (error instanceof Fault && Object.hasOwn(rules.codeByReason, error.reason)) {
    return fromFault(rules, error as Fault<R>);
  }
  const { signal } = call;
  if (signal.aborted && (error === signal.reason || isAbort(error))) {
    if (signal.reason instanceof ConnectError) return copy(signal.reason);
    return new ConnectError("the call was cancelled", Code.Canceled);
  }
  if (error instanceof ConnectError && isForCaller(error)) return copy(error);
  return new ConnectError("internal error", Code.Internal, undefined, undefined, error);
}

function fromFault<R extends string>(rules: FaultRules<R>, fault: Fault<R>): ConnectError {
  const code = rules.codeByReason[fault.reason];
  const status = new ConnectError(clip(fault.message), code, undefined, undefined, fault);
  const { reason, metadata } = fault;
  status.details.push({ desc: ErrorInfoSchema, value: { reason, domain: rules.domain, metadata } });
  if (fault.fields) status.details.push(badRequest(fault.fields));
  if (fault.retryAfterMs !== undefined) {
    const value = { retryDelay: durationFromMs(Math.ceil(fault.retryAfterMs)) };
    status.details.push({ desc: RetryInfoSchema, value });
  }
  return status;
}

/** Not what another service answered to us, and not a fault in the schema's rules, which validation reports like one. */
function isForCaller(error: ConnectError): boolean {
  const { code, cause } = error;
  if (code === Code.DeadlineExceeded || code === Code.Canceled) return true;
  if (code === Code.Internal || code === Code.Unknown || error.isWireError) return false;
  return !(cause instanceof Error && /^(Compilation|Runtime)Error$/.test(cause.name));
}

function isAbort(error: unknown): boolean {
  if (error instanceof ConnectError)
    return error.code === Code.Canceled || error.code === Code.DeadlineExceeded;
  return error instanceof Error && error.name === "AbortError";
}

/** A new error: the one given may be thrown again, in another call. */
function copy(error: ConnectError): ConnectError {
  const { code, cause, isWireError } = error;
  // What came over a wire has the headers of that wire with it.
  const metadata = isWireError ? undefined : error.metadata;
  const status = new ConnectError(clip(error.rawMessage), code, metadata, undefined, error);
  if (cause instanceof ValidationError) {
    const fields = cause.violations.map(({ field, message }) => ({
      field: pathToString(field),
      description: message,
    }));
    status.details.push(badRequest(fields));
  } else if (!isWireError) {
    status.details.push(...error.details);
  }
  return status;
}

/** The details that every status has, as far as they are missing. */
function identify<R extends string>(rules: FaultRules<R>, status: ConnectError, call: Call): Details {
  const details: Details = [];
  const reason = rules.connectReasons[status.code];
  if (reason !== undefined && status.findDetails(ErrorInfoSchema).length === 0) {
    details.push({ desc: ErrorInfoSchema, value: { reason, domain: rules.domain } });
  }
  details.push({ desc: RequestInfoSchema, value: { requestId: call.values.get(requestIdKey) } });
  return details;
}

function badRequest(fields: readonly FaultField[]): Details[number] {
  const fieldViolations = fields.slice(0, fieldsMax).map(({ field, description, reason = "" }) => ({
    field: clip(field),
    description: clip(description),
    reason,
  }));
  return { desc: BadRequestSchema, value: { fieldViolations } };
}

/** Messages repeat parts of requests: of any length, and not always text that can be written. */
function clip(text: string): string {
  const short = text.length > messageCharsMax ? `${text.slice(0, messageCharsMax - 1)}…` : text;
  return short.toWellFormed();
}
