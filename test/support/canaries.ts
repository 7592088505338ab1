/** What the tests' cases say, and why what was done to them. None of it may be in anything that a service writes. */
export const canaries = {
  title: "Extension of a quay",
  secretTitle: "Extension of the secret quay",
  summary: `The harbour asks to "extend quay 4 by thirty metres", or 'as far as the old lock' if that's less.`,
  name: "Ada Byron",
  contact: "ada@example.org",
  reason: `it says "mooring rights of old" and 'a crane by the lock', as follows from the file of the quay`,
  grounds: "unfair to whoever has a boat there",
  kiosk: "A kiosk on the quay",
  drawn: "words of somebody made up",
} as const;
