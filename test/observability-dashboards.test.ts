import { expect, test } from "vitest";
import { graphsOf, readDashboards } from "./support/dashboards.ts";

const dashboards = await readDashboards();

test.each([...dashboards])(
  "%s names what its panels show, in a unit, from a source that whoever looks chooses",
  (_, dashboard) => {
    const source = "${datasource}";
    expect(dashboard.templating.list[0]).toMatchObject({ name: "datasource", type: "datasource" });
    const graphs = graphsOf(dashboard);
    expect(graphs.length).toBeGreaterThan(10);
    for (const { title, description, datasource, fieldConfig, targets } of graphs) {
      expect(title, title).toMatch(/\S/);
      expect(description, title).toMatch(/\S.*\.$/);
      expect(fieldConfig.defaults.unit, title).toMatch(/\S/);
      expect(datasource.uid, title).toBe(source);
      expect(targets.length, title).toBeGreaterThan(0);
      for (const target of targets) {
        expect(target.datasource.uid, title).toBe(source);
        expect(target.legendFormat, title).toMatch(/\S/);
      }
    }
    for (const key of ["id", "title"] as const)
      expect(new Set(dashboard.panels.map((panel) => panel[key])).size, key).toBe(dashboard.panels.length);
  },
);

test.each([...dashboards])("the panels of %s lie beside one another, within the page", (_, { panels }) => {
  const places = panels.map(({ gridPos }) => gridPos);
  for (const [index, a] of places.entries()) {
    expect(a.x + a.w).toBeLessThanOrEqual(24);
    for (const b of places.slice(index + 1)) {
      const apart = a.x + a.w <= b.x || b.x + b.w <= a.x || a.y + a.h <= b.y || b.y + b.h <= a.y;
      expect(apart, `${JSON.stringify(a)} ${JSON.stringify(b)}`).toBe(true);
    }
  }
});

test("no two dashboards have the same title or id, and none names a machine", () => {
  const all = [...dashboards.values()];
  for (const key of ["uid", "title"] as const)
    expect(new Set(all.map((dashboard) => dashboard[key])).size).toBe(dashboards.size);
  expect(dashboards.size).toBe(2);
  expect(JSON.stringify(all)).not.toMatch(/\d+\.\d+\.\d+\.\d+|localhost|https?:/);
});
