/** What every program that a test starts needs of our environment; nothing else of it may reach one. */
export const processEnv = {
  PATH: process.env["PATH"],
  NODE_COMPILE_CACHE: process.env["NODE_COMPILE_CACHE"], // Set in test/vitest.config.ts; starts in half the time.
};
