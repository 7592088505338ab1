import { readdir, readFile } from "node:fs/promises";

export interface Panel {
  readonly id: number;
  readonly type: string;
  readonly title: string;
  readonly description: string;
  readonly datasource: { readonly uid: string };
  readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
  readonly fieldConfig: { readonly defaults: { readonly unit: string } };
  readonly targets: readonly {
    readonly expr: string;
    readonly legendFormat: string;
    readonly datasource: { readonly uid: string };
  }[];
}

export interface Dashboard {
  readonly uid: string;
  readonly title: string;
  readonly templating: {
    readonly list: readonly { readonly name: string; readonly type: string; readonly query: string }[];
  };
  readonly panels: readonly Panel[];
}

const folder = "deploy/observability/grafana";

/** The dashboards of `deploy/observability/grafana`, by file name. */
export async function readDashboards(): Promise<ReadonlyMap<string, Dashboard>> {
  const names = (await readdir(folder)).filter((name) => name.endsWith(".json"));
  const read = async (name: string) =>
    [name, JSON.parse(await readFile(`${folder}/${name}`, "utf8")) as Dashboard] as const;
  return new Map(await Promise.all(names.map(read)));
}

/** Its panels that show something. */
export function graphsOf({ panels }: Dashboard): readonly Panel[] {
  return panels.filter(({ type }) => type !== "row");
}
