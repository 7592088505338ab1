/** Tells whoever in this process follows a tenant's log that it has grown. */
export interface AppendFeed {
  /** Events of the tenant were appended here. */
  readonly tell: (tenantId: string) => void;
  /** Calls `ring` after that, until disposed. */
  readonly listen: (tenantId: string, ring: () => void) => Disposable;
}

export function createAppendFeed(): AppendFeed {
  const byTenant = new Map<string, Set<() => void>>();
  return {
    tell(tenantId) {
      for (const ring of byTenant.get(tenantId) ?? []) ring();
    },
    listen(tenantId, ring) {
      const rings = byTenant.get(tenantId) ?? new Set();
      byTenant.set(tenantId, rings.add(ring));
      return {
        [Symbol.dispose]() {
          rings.delete(ring);
          if (rings.size === 0) byTenant.delete(tenantId);
        },
      };
    },
  };
}
