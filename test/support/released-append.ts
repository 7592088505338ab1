import pg from "pg";
import { insertEvents } from "#services/audit/store/events.ts";
import { saveSubjectHeads } from "#services/audit/store/subject-heads.ts";
import { readTape } from "../released/tape.ts";
import { makeCandidate } from "./candidate.ts";

/** The release before the one that knows of trees. */
const version = "0.1.0";

/** Appends as many new events, with the statements that a replica of that release sends. */
export async function appendAsReleased(appUrl: string, tenantId: string, count: number): Promise<void> {
  const tape = (await readTape(version)).filter(({ role }) => role === "audit_app");
  const texts = tape.flatMap(({ commands }) => commands.map(({ text }) => text));
  const textOf = (start: string): string => {
    const text = texts.find((candidate) => candidate.trimStart().startsWith(start));
    if (text === undefined) throw new Error(`release ${version} has no statement ${start}`);
    return text;
  };
  const client = new pg.Client({ connectionString: appUrl });
  await client.connect();
  try {
    await client.query("BEGIN");
    await client.query(`SET LOCAL app.tenant_id = '${tenantId}'`);
    await client.query(textOf("INSERT INTO logs"), [tenantId]);
    const { rows } = await client.query(textOf("SELECT size FROM logs"), [tenantId]);
    const size = BigInt(rows[0].size);
    const events = Array.from({ length: count }, (_, at) => ({
      ...makeCandidate(tenantId),
      leafIndex: size + BigInt(at),
    }));
    const heads = events.map(({ source, subject, digest }) => ({
      source,
      subject,
      lastSequence: 1n,
      lastDigest: digest,
    }));
    // The columns of both are as they were; were they not, the insert would fail.
    await client.query(textOf("INSERT INTO events"), [...insertEvents(tenantId, events).values]);
    await client.query(textOf("INSERT INTO subject_heads"), [...saveSubjectHeads(tenantId, heads).values]);
    await client.query(textOf("UPDATE logs SET size"), [tenantId, size + BigInt(count)]);
    await client.query("COMMIT");
  } finally {
    await client.end();
  }
}
