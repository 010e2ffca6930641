// The run over time, in small charts that share one time axis. The series comes from the journal.

import { h, s, setAttribute, setText } from "../dom.js";
import { Part } from "../part.js";
import { asArea, asLine, niceTop, paths } from "../scale.js";
import { big, count, dollars, seconds, time } from "../text.js";

const CHARTS = [
  { title: "Landed", lines: [["landings", "landed", "a"]], write: count },
  { title: "Tasks", lines: [["pending", "open", "b"], ["working", "agents at work", "a"], ["failed", "failed", "c"]], write: count },
  { title: "Tokens", lines: [["tokens", "tokens", "d"]], write: big },
  { title: "Cost", lines: [["cost_usd", "US dollars", "e"]], write: dollars },
];
const WIDTH = 320;
const HEIGHT = 84;
const BASE = HEIGHT - 14;

class Charts extends Part {
  static parts = ["points", "metrics"];

  build() {
    this.charts = CHARTS.map((chart) => this.chart(chart));
    this.append(h("div", { class: "charts" }, ...this.charts.map(({ figure }) => figure)));
  }

  chart(chart) {
    const top = s("text", { x: 2, y: 10, class: "axis" });
    const from = s("text", { x: 0, y: HEIGHT - 2, class: "axis" });
    const to = s("text", { x: WIDTH, y: HEIGHT - 2, class: "axis", "text-anchor": "end" });
    const cursor = s("path", { class: "cursor", d: "" });
    const lines = chart.lines.map(([name, word, tone]) => ({
      name, word, tone, area: s("path", { class: `area tone-${tone}`, d: "" }), line: s("path", { class: `line tone-${tone}`, d: "" }),
    }));
    const svg = s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "chart", role: "img", "aria-label": chart.title },
      s("path", { class: "grid", d: `M0 ${BASE}H${WIDTH}M0 14H${WIDTH}` }),
      ...lines.flatMap(({ area, line }) => [area, line]), cursor, top, from, to);
    const values = h("span", { class: "chart-values" });
    for (const one of lines) values.append((one.value = h("span", { class: `chart-value tone-${one.tone}` })));
    const figure = h("figure", { class: "chart-box" },
      h("figcaption", {}, h("span", { class: "chart-title" }, chart.title), values), svg);
    svg.addEventListener("pointermove", (event) => this.point(event, svg));
    svg.addEventListener("pointerleave", () => { this.at = null; this.show(); });
    return { ...chart, figure, svg, top, from, to, cursor, lines, values };
  }

  point(event, svg) {
    const box = svg.getBoundingClientRect();
    this.at = (event.clientX - box.left) / box.width;
    this.show();
  }

  show() {
    const points = withNow(this.store);
    for (const chart of this.charts) this.draw(chart, points);
  }

  draw(chart, points) {
    const first = points[0]?.at ?? 0;
    const last = points[points.length - 1]?.at ?? 1;
    const span = Math.max(1, last - first);
    const most = Math.max(0, ...chart.lines.flatMap(({ name }) => points.map((point) => point[name] ?? 0)));
    const top = niceTop(most);
    const scale = { x: (at) => ((at - first) / span) * WIDTH, y: (value) => BASE - (value / top) * (BASE - 14) };
    for (const { name, area, line } of chart.lines) {
      const runs = paths(points, name, scale);
      setAttribute(line, "d", asLine(runs));
      setAttribute(area, "d", chart.lines.length === 1 ? asArea(runs, BASE) : "");
    }
    const shown = this.shown(points, first, span);
    setText(chart.top, most > 0 ? chart.write(top) : "");
    setText(chart.from, points.length > 1 ? time(first) : "");
    setText(chart.to, points.length > 1 ? time(last) : "");
    setAttribute(chart.cursor, "d", shown && this.at !== null && this.at !== undefined ? `M${scale.x(shown.at).toFixed(1)} 14V${BASE}` : "");
    const words = chart.lines.map(({ name, word }) => `${chart.write(shown?.[name])} ${word}`);
    chart.lines.forEach(({ value }, at) => setText(value, shown ? words[at] : "no points yet"));
    setAttribute(chart.svg, "aria-label", `${chart.title}: ${words.join(", ")}, over ${seconds(span)}`);
  }

  shown(points, first, span) {
    if (points.length === 0) return null;
    if (this.at === null || this.at === undefined) return points[points.length - 1];
    const at = first + this.at * span;
    return points.reduce((best, point) => (Math.abs(point.at - at) < Math.abs(best.at - at) ? point : best));
  }
}

// The series closes a step at a time; how things stand now is its last point.
function withNow({ points, metrics: m, at }) {
  const last = points[points.length - 1];
  if (at === null || (last && last.at >= at)) return points;
  const known = m.calls > m.calls_without_usage;
  const now = {
    at, landings: m.landings, pending: m.tasks_pending, working: m.agents_working, failed: m.tasks_failed,
    tokens: known ? (m.tokens_prompt ?? 0) + (m.tokens_completion ?? 0) : null, cost_usd: m.cost_usd,
  };
  return [...points, now];
}

customElements.define("stig-charts", Charts);
