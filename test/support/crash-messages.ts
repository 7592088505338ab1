/** Who of the two said something. */
export type Side = "client" | "server";

/** A protocol as a proxy must know it: where each message ends, and what to call it. */
export interface Protocol {
  /** Takes what one side of one connection sends, chunk by chunk; gives the messages that have become whole. */
  split(side: Side): (chunk: Buffer) => Buffer[];
  /** What kind of message it is, for whoever reads of a failure. */
  name(side: Side, message: Buffer): string;
  /** The text by which this message opens a transaction, if it does. */
  opens(side: Side, message: Buffer): string | undefined;
  /** The process id that a PostgreSQL backend tells of itself by this message, if it does. */
  backendPid(side: Side, message: Buffer): number | undefined;
}

const lengthBytes = 4;

/** PostgreSQL's protocol 3.0, not encrypted: a type of one byte and a length that counts itself; the first of a client has no type. */
export const postgresProtocol: Protocol = {
  split(side) {
    return splitter((bytes, isFirst) => {
      const typeBytes = isFirst && side === "client" ? 0 : 1;
      return bytes.length < typeBytes + lengthBytes ? undefined : typeBytes + bytes.readInt32BE(typeBytes);
    });
  },
  name(side, message) {
    if (side === "client" && message[0] === 0) return "startup";
    const type = message.toString("latin1", 0, 1);
    const said = message.toString("latin1", 1 + lengthBytes, 100).split("\0");
    switch (`${side} ${type}`) {
      case "client Q":
      case "server C":
        return `${type} ${(said[0] ?? "").split(/[ ;]/, 2).join(" ")}`;
      case "client P":
        return `P ${said[0]}`;
      case "client B":
        return `B ${said[1]}`; // Behind the portal's name, which is empty.
      default:
        return type;
    }
  },
  opens(side, message) {
    const text = side === "client" && message[0] === 0x51 ? message.toString("latin1", 1 + lengthBytes) : "";
    return text.startsWith("BEGIN") ? text : undefined;
  },
  backendPid: (side, message) =>
    side === "server" && message[0] === 0x4b ? message.readInt32BE(1 + lengthBytes) : undefined,
};

const prefaceBytes = 24;
const frameHeaderBytes = 9;
const frameNames = [
  "DATA",
  "HEADERS",
  "PRIORITY",
  "RST_STREAM",
  "SETTINGS",
  "PUSH_PROMISE",
  "PING",
  "GOAWAY",
  "WINDOW_UPDATE",
];

/** HTTP/2 (RFC 9113, sections 3.4 and 4.1), not encrypted: a client's preface, then frames. */
export const http2Protocol: Protocol = {
  split(side) {
    return splitter((bytes, isFirst) => {
      if (isFirst && side === "client") return prefaceBytes;
      return bytes.length < frameHeaderBytes ? undefined : frameHeaderBytes + bytes.readUIntBE(0, 3);
    });
  },
  name: (_side, message) =>
    message.toString("latin1", 0, 3) === "PRI" ? "preface" : (frameNames[message[3] ?? -1] ?? "frame"),
  opens: () => undefined,
  backendPid: () => undefined,
};

/** `endOf` tells the length of the message at the start of the bytes, once it can. */
function splitter(
  endOf: (bytes: Buffer, isFirst: boolean) => number | undefined,
): (chunk: Buffer) => Buffer[] {
  let rest: Buffer = Buffer.alloc(0);
  let isFirst = true;
  return (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    const messages: Buffer[] = [];
    for (
      let end = endOf(rest, isFirst);
      end !== undefined && end <= rest.length;
      end = endOf(rest, isFirst)
    ) {
      messages.push(rest.subarray(0, end));
      rest = rest.subarray(end);
      isFirst = false;
    }
    return messages;
  };
}
