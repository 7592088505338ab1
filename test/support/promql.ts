import { parser } from "@prometheus-io/lezer-promql";

/** A label and what it is compared with. */
export interface Matcher {
  readonly label: string;
  readonly op: "=" | "!=" | "=~" | "!~";
  readonly value: string;
}

/** One metric that an expression asks for. */
export interface Selector {
  readonly name: string;
  readonly matchers: readonly Matcher[];
}

export interface Expression {
  readonly selectors: readonly Selector[];
  /** Labels that it groups by or joins on. */
  readonly grouping: readonly string[];
}

type Node = ReturnType<typeof parser.parse>["topNode"];

/** Reads PromQL by Prometheus' own grammar; Grafana's variables of time stand for five minutes. Throws for what is none. */
export function readExpression(text: string): Expression {
  const expr = text.replaceAll(/\$__(?:rate_)?interval/g, "5m");
  const selectors: Selector[] = [];
  const grouping: string[] = [];
  parser.parse(expr).iterate({
    enter({ type, node, from, to }) {
      if (type.isError) throw new Error(`no PromQL at ${from}: ${expr}`);
      if (type.name === "GroupingLabels")
        grouping.push(...node.getChildren("LabelName").map((label) => expr.slice(label.from, label.to)));
      if (type.name === "VectorSelector") {
        const name = node.getChild("Identifier");
        if (!name) throw new Error(`no metric is named: ${expr.slice(from, to)}`);
        selectors.push({ name: expr.slice(name.from, name.to), matchers: readMatchers(node, expr) });
      }
    },
  });
  return { selectors, grouping };
}

function readMatchers(selector: Node, expr: string): Matcher[] {
  const nodes = selector.getChild("LabelMatchers")?.getChildren("UnquotedLabelMatcher") ?? [];
  const textOf = (matcher: Node, kind: string): string => {
    const node = matcher.getChild(kind);
    return node ? expr.slice(node.from, node.to) : "";
  };
  return nodes.map((matcher) => ({
    label: textOf(matcher, "LabelName"),
    op: textOf(matcher, "MatchOp") as Matcher["op"], // The grammar has these four.
    value: JSON.parse(textOf(matcher, "StringLiteral")) as string, // Double quotes, as we write them.
  }));
}
