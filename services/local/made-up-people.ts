import type { TokenName } from "#libs/client/stack.ts";
import type { LocalIssuer, TokenClaims } from "#libs/local-issuer/local-issuer.ts";

/** Long enough for a working day; a restart makes new ones. */
const lifetimeSeconds = 12 * 3_600;

const tenantId = "harbour-city";

function person(subject: string, role: string, tenant = tenantId): TokenClaims {
  return { subject, tenantId: tenant, roles: [role], kind: "person" };
}

/** Who the stack's tokens are for: distinct people, since most rules ask for somebody else than before. */
export const madeUpPeople: Readonly<Record<TokenName, TokenClaims>> = {
  caseworker: person("ada.brook", "caseworker"),
  reviewer: person("ravi.stone", "reviewer"),
  reviewer2: person("mina.field", "reviewer"),
  supervisor: person("sofia.marsh", "supervisor"),
  supervisor2: person("tomas.hale", "supervisor"),
  auditor: person("nora.quill", "auditor"),
  operator: person("omar.wells", "operator"),
  otherTenant: person("lena.ford", "caseworker", "hill-county"),
};

/** Signs a token for each of them, good for twelve hours. */
export async function signTokens(issuer: LocalIssuer): Promise<Record<TokenName, string>> {
  const sign = (name: TokenName) => issuer.sign(madeUpPeople[name], lifetimeSeconds);
  return {
    caseworker: await sign("caseworker"),
    reviewer: await sign("reviewer"),
    reviewer2: await sign("reviewer2"),
    supervisor: await sign("supervisor"),
    supervisor2: await sign("supervisor2"),
    auditor: await sign("auditor"),
    operator: await sign("operator"),
    otherTenant: await sign("otherTenant"),
  };
}
