import { createClient } from "@connectrpc/connect";
import { createGrpcTransport } from "@connectrpc/connect-node";
import { CaseService } from "#libs/gen/caseflow/cases/v1/case_service_pb.ts";
import { Health, HealthCheckResponse_ServingStatus } from "#libs/gen/grpc/health/v1/health_pb.ts";
import { createSessionManager } from "#libs/rpc/session-manager.ts";

/** Resolves once the case service takes calls, so that the portal opens its form. Until then it waits, up to `signal`. */
export async function waitUntilOpen(url: string, signal: AbortSignal): Promise<void> {
  using sessions = createSessionManager(url);
  const health = createClient(Health, createGrpcTransport({ baseUrl: url, sessionManager: sessions }));
  for await (const { status } of health.watch({ service: CaseService.typeName }, { signal })) {
    if (status === HealthCheckResponse_ServingStatus.SERVING) return;
  }
  throw new Error("the case service stopped telling whether it serves");
}
