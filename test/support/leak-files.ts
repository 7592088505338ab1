import { readdirSync, readlinkSync } from "node:fs";

const folder = "/proc/self/fd";

/** Counts from now on the files that this process opens. */
export function watchFiles(): Disposable & { left(): string[] } {
  const before = openFiles();
  return {
    left: () => [...openFiles()].filter((file) => !before.has(file)).map((file) => `open file ${file}`),
    [Symbol.dispose]: () => {},
  };
}

/** Descriptor and path of each. Sockets and pipes, which have no path, are the business of others. */
function openFiles(): Set<string> {
  return new Set(
    readdirSync(folder).flatMap((descriptor) => {
      try {
        const path = readlinkSync(`${folder}/${descriptor}`);
        return path.startsWith("/") && !path.startsWith("/proc/") ? [`${descriptor} ${path}`] : [];
      } catch {
        return []; // Closed meanwhile; such as the one that lists them.
      }
    }),
  );
}
