export interface Line {
  readonly name: string;
  /** One a second, from 0 on. */
  readonly values: readonly number[];
  readonly dashed: boolean;
}

const width = 640;
const height = 360;
const margin = 48;
const colors = ["#888888", "#3ca951", "#ff725c", "#4269d0", "#efb118"];
const gridLines = 5;

/** Draws counts a second over time, as SVG. */
export function plotOverTime(title: string, lines: readonly Line[]): string {
  const seconds = Math.max(...lines.map(({ values }) => values.length));
  const most = Math.max(...lines.flatMap(({ values }) => values));
  const x = (second: number): number => margin + (second / seconds) * (width - 2 * margin);
  const y = (count: number): number => height - margin - (count / most) * (height - 2 * margin);
  const grid = Array.from({ length: gridLines + 1 }, (_, index) => {
    const count = Math.round((most * index) / gridLines);
    return `<line x1="${margin}" x2="${width - margin}" y1="${y(count)}" y2="${y(count)}" stroke="#ddd"/>
<text x="${margin - 6}" y="${y(count) + 4}" text-anchor="end">${count}</text>`;
  });
  const drawn = lines.map(({ name, values, dashed }, index) => {
    const color = colors[index % colors.length];
    const points = values.map((value, second) => `${x(second + 0.5).toFixed(1)},${y(value).toFixed(1)}`);
    const dash = dashed ? ' stroke-dasharray="4 4"' : "";
    return `<polyline fill="none" stroke="${color}" stroke-width="2"${dash} points="${points.join(" ")}"/>
<text x="${width - margin - 4}" y="${margin + 14 * (index + 1)}" text-anchor="end" fill="${color}">${name}</text>`;
  });
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="11">
<rect width="${width}" height="${height}" fill="white"/>
<text x="${width / 2}" y="24" text-anchor="middle" font-size="14">${title}</text>
${[...grid, ...drawn].join("\n")}
<text x="${margin}" y="${height - margin + 16}">0 s</text>
<text x="${width - margin}" y="${height - margin + 16}" text-anchor="end">${seconds} s</text>
</svg>
`;
}
