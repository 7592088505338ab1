import { createContextKey } from "@connectrpc/connect";

/** Who calls, from a verified token and from nothing else. */
export interface Principal {
  /** 1 to 128 printable characters without spaces. */
  readonly id: string;
  readonly kind: "person" | "service";
  /** `undefined`: the token belongs to no tenant. */
  readonly tenantId: string | undefined;
  readonly roles: readonly string[];
  /** Whom the principal, then a service, acts for; `undefined`: for nobody else. */
  readonly onBehalfOf: string | undefined;
  /** The event sources that the principal may speak for. */
  readonly sources: readonly string[];
  /** When the token ends, clock tolerance not counted. */
  readonly expiresAt: Date;
}

/** `undefined` in calls to services that are open to everybody. */
export const principalKey = createContextKey<Principal | undefined>(undefined, { description: "principal" });

/** Verifies the call's token once more; rejects as authentication does. For streams, which outlive the keys of their tokens. */
export const verifyAgainKey = createContextKey<() => Promise<unknown>>(async () => {}, {
  description: "verify again",
});
