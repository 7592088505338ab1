/** What a dead letter's reason means, and what either remedy would come to. Each is a sentence or two. */
export interface Advice {
  readonly meaning: string;
  readonly redrive: string;
  readonly skip: string;
}

const again = "The same bytes are sent again: it helps once the cause is gone, and does no harm before.";
const tombstone =
  "A tombstone with your name and reason takes its place for good, and what waits behind it is delivered. The event's own words never reach the audit log; its digest does.";
const forked =
  "Refused (HISTORY_FORKED): a tombstone would be refused as the event was. docs/dead-letters.md says what is left.";

const adviceByReason: Readonly<Record<string, Advice>> = {
  INVALID_EVENT: {
    meaning:
      "The audit service takes it for no valid event: one of the two services has a fault, or is too old.",
    redrive: `${again} Update the audit service first.`,
    skip: tombstone,
  },
  SOURCE_NOT_ALLOWED: {
    meaning:
      "The relay's token does not speak for this service's events: its claim `sources` lacks the source.",
    redrive: `${again} Mend the token in AUDIT_TOKEN_FILE first.`,
    skip: `${tombstone} With the same token the tombstone is refused too.`,
  },
  EVENT_ID_REUSED: {
    meaning:
      "The audit service holds another event under this id: another source has taken it, or this service has told two stories. Find out which before anything else.",
    redrive: "It will be refused again, for as long as the other event is there: for ever.",
    skip: tombstone,
  },
  SEQUENCE_REUSED: {
    meaning:
      "The audit service holds another event at this place of the subject: most likely the case database was put back to an earlier time, and the case has been changed anew since.",
    redrive:
      "It will be refused again, unless the audit service has this very event there: then the case goes on.",
    skip: forked,
  },
  CHAIN_BROKEN: {
    meaning:
      "The audit service holds another event before it than the one it names: the two histories differ from there on.",
    redrive: "It will be refused again, for as long as the audit service's history stays what it is.",
    skip: forked,
  },
  DELIVERY_REFUSED: {
    meaning: "The audit service refused the request with this event alone in it: it may be too large for it.",
    redrive: `${again} Raise the limit, or update the audit service, first.`,
    skip: tombstone,
  },
  DELIVERY_FAILED: {
    meaning:
      "The audit service broke on this event, three times, while others got through. It may have stored it nonetheless.",
    redrive: `${again} If it is stored already, the case just goes on.`,
    skip: `${tombstone} If the event is stored already, the tombstone is refused, and a redrive lets the case go on.`,
  },
};

const unknown: Advice = {
  meaning: "This command does not know the reason: it is of an older release than the services.",
  redrive: again,
  skip: tombstone,
};

/** With a tombstone made before, either of the two may be what the audit service holds. */
export function adviceOn(reason: string, hasTombstone: boolean): Advice {
  const advice = adviceByReason[reason] ?? unknown;
  if (!hasTombstone) return advice;
  return {
    meaning: `${advice.meaning} It was skipped before, and is dead again: redrive it, and if that ends here too, skip it again.`,
    redrive: "The event's own bytes are sent again. If the audit service has stored them, the case goes on.",
    skip: "The tombstone that was made then is sent again, with the name and reason of then. If the audit service has stored it, the case goes on.",
  };
}
