/** The port in the socket's file name; no TCP port is opened. */
export const socketPort = 5432;

/**
 * A connection string that libpq (psql) and `pg` both understand. The folder goes before the name `localhost`, which is
 * there because a URL with a user and no host is none (WHATWG URL, section 4.4).
 */
export function socketUrl(socketDir: string, user: string, database: string): string {
  const [host, name, path] = [socketDir, user, database].map(encodeURIComponent);
  return `postgresql://${name}@localhost/${path}?host=${host}&port=${socketPort}`;
}
