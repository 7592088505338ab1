import { readFile } from "node:fs/promises";

/** Who the server runs as. */
export interface Account {
  readonly uid: number;
  readonly gid: number;
  /** Whether that is somebody else than this process: PostgreSQL refuses to run as root. */
  readonly switched: boolean;
}

/** Debian's and Red Hat's alike, for images without `/etc/passwd`. */
const nobody = { uid: 65_534, gid: 65_534 };

/** This process's own account, or `nobody` when this process is root. */
export async function chooseAccount(): Promise<Account> {
  const uid = process.geteuid?.() ?? 0;
  if (uid !== 0) return { uid, gid: process.getegid?.() ?? 0, switched: false };
  const passwd = await readFile("/etc/passwd", "utf8").catch(() => "");
  const fields = /^nobody:[^:]*:(\d+):(\d+):/m.exec(passwd);
  return { uid: Number(fields?.[1] ?? nobody.uid), gid: Number(fields?.[2] ?? nobody.gid), switched: true };
}
