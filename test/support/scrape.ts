/** One line of Prometheus' text format. */
export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

export interface Scrape {
  readonly samples: readonly Sample[];
  /** By the metric's name. */
  readonly types: ReadonlyMap<string, string>;
  /** The samples of a name that have these labels, added up; `undefined` when there is none. */
  sum(name: string, labels?: Readonly<Record<string, string>>): number | undefined;
}

/** What `/metrics` says may take so long, whatever is broken. */
const limitMs = 5_000;

/** Reads `/metrics` of a service. Throws for a line that Prometheus would not read. */
export async function scrape(metricsUrl: string): Promise<Scrape> {
  const answer = await fetch(`${metricsUrl}/metrics`, { signal: AbortSignal.timeout(limitMs) });
  if (answer.status !== 200) throw new Error(`/metrics: ${answer.status} ${await answer.text()}`);
  return readScrape(await answer.text());
}

const namePattern = "[a-zA-Z_:][a-zA-Z0-9_:]*";
const linePattern = new RegExp(`^(${namePattern})(?:\\{(.*)\\})? (NaN|[+-]Inf|[-+0-9.e]+)$`);
const labelPattern = new RegExp(`(${namePattern})="((?:[^"\\\\]|\\\\.)*)"(?:,|$)`, "gy");
const typePattern = new RegExp(`^# TYPE (${namePattern}) (counter|gauge|histogram)$`);

/** Source: Prometheus exposition format, text format 0.0.4. */
export function readScrape(text: string): Scrape {
  const samples: Sample[] = [];
  const types = new Map<string, string>();
  for (const line of text.split("\n")) {
    if (line === "" || line.startsWith("# HELP ")) continue;
    const [, typed, type] = typePattern.exec(line) ?? [];
    if (typed !== undefined && type !== undefined) {
      if (types.has(typed)) throw new Error(`twice: ${line}`);
      types.set(typed, type);
      continue;
    }
    const [, name, labels = "", value] = linePattern.exec(line) ?? [];
    if (name === undefined || value === undefined) throw new Error(`not a line of the format: ${line}`);
    samples.push({ name, labels: readLabels(labels, line), value: Number(value.replace("Inf", "Infinity")) });
  }
  return {
    samples,
    types,
    sum(name, labels = {}) {
      const wanted = Object.entries(labels);
      const fitting = samples.filter(
        (sample) => sample.name === name && wanted.every(([key, value]) => sample.labels[key] === value),
      );
      return fitting.length === 0 ? undefined : fitting.reduce((sum, { value }) => sum + value, 0);
    },
  };
}

function readLabels(text: string, line: string): Record<string, string> {
  const pairs = [...text.matchAll(labelPattern)];
  if (pairs.map(([whole]) => whole).join("") !== text) throw new Error(`not labels: ${line}`);
  return Object.fromEntries(pairs.map(([, key = "", value = ""]) => [key, value]));
}
