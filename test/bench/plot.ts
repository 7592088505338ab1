/** One line of a plot: latencies in milliseconds, sorted, and the budget they are held to. */
export interface Series {
  readonly name: string;
  readonly sortedMs: readonly number[];
  readonly budgetMs: number;
}

const width = 640;
const height = 360;
const margin = 48;
const colors = ["#4269d0", "#efb118", "#ff725c", "#3ca951"];
/** The decades shown, in milliseconds. */
const minMs = 0.1;
const maxMs = 10_000;
const samples = 200;

/** Draws the share of calls answered within a time, as SVG: one line a series, its budget as a dashed line of the same colour. */
export function plotLatencies(title: string, all: readonly Series[]): string {
  const ticks = Array.from({ length: 6 }, (_, decade) => minMs * 10 ** decade);
  const grid = ticks.map(
    (ms) => `<line x1="${x(ms)}" x2="${x(ms)}" y1="${y(0)}" y2="${y(1)}" stroke="#ddd"/>
<text x="${x(ms)}" y="${height - margin + 16}" text-anchor="middle">${ms} ms</text>`,
  );
  const shares = [0, 0.5, 0.95, 1].map(
    (share) => `<line x1="${margin}" x2="${width - margin}" y1="${y(share)}" y2="${y(share)}" stroke="#ddd"/>
<text x="${margin - 6}" y="${y(share) + 4}" text-anchor="end">${share * 100}%</text>`,
  );
  const lines = all.map(({ name, sortedMs, budgetMs }, index) => {
    const color = colors[index % colors.length];
    const points = Array.from({ length: samples + 1 }, (_, step) => {
      const share = step / samples;
      return `${x(sortedMs[Math.max(0, Math.ceil(sortedMs.length * share) - 1)] ?? minMs)},${y(share)}`;
    });
    return `<polyline fill="none" stroke="${color}" stroke-width="2" points="${points.join(" ")}"/>
<line x1="${x(budgetMs)}" x2="${x(budgetMs)}" y1="${y(0)}" y2="${y(1)}" stroke="${color}" stroke-dasharray="4 4"/>
<text x="${margin + 8}" y="${margin + 14 * (index + 1)}" fill="${color}">${name}, budget of the 95% ${budgetMs} ms</text>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="11">
<rect width="${width}" height="${height}" fill="white"/>
<text x="${width / 2}" y="24" text-anchor="middle" font-size="14">${title}</text>
${[...grid, ...shares, ...lines].join("\n")}
</svg>
`;
}

/** Logarithmic. */
function x(ms: number): number {
  const share = Math.log(Math.min(Math.max(ms, minMs), maxMs) / minMs) / Math.log(maxMs / minMs);
  return Math.round((margin + share * (width - 2 * margin)) * 10) / 10;
}

function y(share: number): number {
  return Math.round((height - margin - share * (height - 2 * margin)) * 10) / 10;
}
