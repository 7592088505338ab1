import { SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import {
  ATTR_DB_OPERATION_BATCH_SIZE,
  ATTR_DB_OPERATION_NAME,
  ATTR_DB_QUERY_SUMMARY,
  ATTR_DB_RESPONSE_STATUS_CODE,
  ATTR_DB_SYSTEM_NAME,
  ATTR_ERROR_TYPE,
  DB_SYSTEM_NAME_VALUE_POSTGRESQL,
} from "@opentelemetry/semantic-conventions";

const tracer = trace.getTracer("pg");

/**
 * Runs `fn` as a CLIENT span about one exchange with PostgreSQL. `name` is what was executed, of few different values:
 * the statement's name, or those of a batch joined by spaces, of which there were `batchSize`.
 *
 * Attributes are those of the stable database conventions; query texts and values are never among them.
 */
export function withStatementSpan<T>(name: string, fn: () => Promise<T>, batchSize = 1): Promise<T> {
  const batch = batchSize > 1;
  const attributes = {
    [ATTR_DB_SYSTEM_NAME]: DB_SYSTEM_NAME_VALUE_POSTGRESQL,
    [ATTR_DB_QUERY_SUMMARY]: batch ? `BATCH ${name}` : name,
    [ATTR_DB_OPERATION_NAME]: batch ? "BATCH" : name,
    ...(batch ? { [ATTR_DB_OPERATION_BATCH_SIZE]: batchSize } : {}),
  };
  return tracer.startActiveSpan(name, { kind: SpanKind.CLIENT, attributes }, async (span) => {
    try {
      return await fn();
    } catch (error) {
      const state = sqlState(error);
      if (state) span.setAttribute(ATTR_DB_RESPONSE_STATUS_CODE, state);
      span.setAttribute(ATTR_ERROR_TYPE, state ?? (error instanceof Error ? error.name : "_OTHER"));
      span.setStatus({ code: SpanStatusCode.ERROR });
      throw error;
    } finally {
      span.end();
    }
  });
}

/** The SQLSTATE of an error from the database, also when it is the cause of the error thrown. */
function sqlState(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  if ("code" in error && typeof error.code === "string" && /^[0-9A-Z]{5}$/.test(error.code))
    return error.code;
  return sqlState(error.cause);
}
