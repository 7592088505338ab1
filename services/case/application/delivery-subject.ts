import { subjectId } from "./subject-id.ts";

/** The subject of what operators do about the delivery of events: one a tenant, each act an event of it. */
export const deliverySubject = "delivery";

/** Under which its entries stand, in every tenant. */
export const deliveryId = subjectId(deliverySubject);

/** The one state of the subject, once there was an act. */
export const attended = "attended";
