// What depends on what, from left to right; the critical path is drawn strong.
//
// A coding run is drawn by its items, any other board by its tasks. Large graphs are summarised.

import { h, s, setAttribute, setText } from "../dom.js";
import { glyph, stateText } from "../glyphs.js";
import { layout, summarise } from "../layout.js";
import { Part } from "../part.js";
import { count, short } from "../text.js";

const ITEM_OF = /\.(land|fix\d*)$/;

class TaskGraph extends Part {
  static parts = ["tasks", "items", "critical_path"];

  build() {
    this.note = h("p", { class: "graph-note" });
    this.svg = s("svg", { class: "graph", role: "group", "aria-label": "Task graph" });
    this.scroller = h("div", { class: "graph-scroll", tabindex: "0", role: "region", "aria-label": "Task graph, scrolls" }, this.svg);
    this.append(this.note, this.scroller);
    this.drawn = "";
  }

  show() {
    const { nodes, edges, critical } = graphOf(this.store);
    const shape = JSON.stringify([nodes.map(({ id }) => id), edges, critical, nodes.length > 240 ? nodes.map(({ state }) => state) : 0]);
    if (shape === this.drawn) {
      this.recolour(nodes);
      return;
    }
    this.drawn = shape;
    this.draw(nodes, edges, critical);
  }

  draw(nodes, edges, critical) {
    const told = summarise(nodes, edges, critical);
    const { places, width, height, node } = layout(told.nodes, told.edges);
    const strong = new Set(critical);
    setText(this.note, noteOf(nodes, critical, told.summarised));
    setAttribute(this.svg, "viewBox", `-8 -8 ${width + 16} ${height + 16}`);
    setAttribute(this.svg, "width", width + 16);
    setAttribute(this.svg, "height", height + 16);
    const links = told.edges.filter(({ from, to }) => places.has(from) && places.has(to)).map((edge) => link(edge, places, node, strong));
    this.nodes = new Map(told.nodes.map((one) => [one.id, this.node(one, places.get(one.id), node, strong)]));
    this.svg.replaceChildren(...links, ...this.nodes.values());
    if (!told.summarised) this.recolour(nodes);
  }

  node(one, place, { width, height }, strong) {
    const many = one.count !== undefined;
    const label = many ? `${count(one.count)} ${stateText(one.state)}` : short(one.id, 22);
    const title = many ? "" : short(one.title, 27);
    const group = s("g", {
      class: "graph-node", transform: `translate(${place.x} ${place.y})`, "data-state": one.state, "data-critical": String(strong.has(one.id)),
      ...(many ? { role: "img" } : { role: "button", tabindex: "0" }),
      "aria-label": many ? label : `${short(one.id, 80)}, ${stateText(one.state)}${strong.has(one.id) ? ", on the critical path" : ""}. ${short(one.title, 120)}`,
    });
    const mark = glyph(one.state);
    for (const [name, value] of Object.entries({ x: 9, y: height / 2 - 6, width: 12, height: 12 })) mark.setAttribute(name, value);
    group.append(s("title", {}, many ? label : `${short(one.id, 80)} (${stateText(one.state)}) ${short(one.title, 200)}`),
      s("rect", { width, height, rx: 6 }), mark, s("text", { x: 28, y: title ? height / 2 - 3 : height / 2 + 4 }, label), s("text", { x: 28, y: height / 2 + 12, class: "graph-title" }, title));
    if (!many) {
      const open = () => this.app.open("task", one.task ?? one.id);
      group.addEventListener("click", open);
      group.addEventListener("keydown", (event) => {
        if (event.key === "Enter" || event.key === " ") {
          event.preventDefault();
          open();
        }
      });
    }
    return group;
  }

  recolour(nodes) {
    for (const { id, state, title } of nodes) {
      const group = this.nodes?.get(id);
      if (!group || group.getAttribute("data-state") === state) continue;
      setAttribute(group, "data-state", state);
      const critical = group.getAttribute("data-critical") === "true" ? ", on the critical path" : "";
      setAttribute(group, "aria-label", `${short(id, 80)}, ${stateText(state)}${critical}. ${short(title, 120)}`);
      const old = group.querySelector(".glyph");
      const mark = glyph(state);
      for (const name of ["x", "y", "width", "height"]) mark.setAttribute(name, old.getAttribute(name));
      old.replaceWith(mark);
    }
  }
}

export function graphOf({ items, tasks, critical_path: path }) {
  if (items.size > 0) {
    const nodes = [...items.values()].map(({ key, state, title }) => ({ id: key, state, title, task: tasks.has(`${key}.land`) && !tasks.has(key) ? `${key}.land` : key }));
    const edges = [...items.values()].flatMap(({ key, depends_on }) => (depends_on ?? []).map((from) => ({ from: itemOf(from), to: key, kind: "needs" })));
    return { nodes, edges, critical: [...new Set((path ?? []).map((id) => tasks.get(id)?.key ?? itemOf(id)))] };
  }
  const nodes = [...tasks.values()].map(({ id, status, title }) => ({ id, state: status, title }));
  const edges = [...tasks.values()].flatMap((task) => [
    ...(task.depends_on ?? []).map((from) => ({ from, to: task.id, kind: "needs" })),
    ...(task.parent_id && tasks.has(task.parent_id) ? [{ from: task.parent_id, to: task.id, kind: "parent" }] : []),
  ]);
  return { nodes, edges, critical: path ?? [] };
}

function itemOf(id) {
  return id.replace(ITEM_OF, "");
}

function link({ from, to, kind }, places, { width, height }, strong) {
  const [a, b] = [places.get(from), places.get(to)];
  const [x1, y1, x2, y2] = [a.x + width, a.y + height / 2, b.x, b.y + height / 2];
  const bend = kind === "parent" && x2 <= a.x ? 30 : Math.max(18, (x2 - x1) / 2);
  return s("path", {
    class: "graph-link", "data-kind": kind, "data-critical": String(strong.has(from) && strong.has(to)),
    d: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`,
  });
}

function noteOf(nodes, critical, summarised) {
  if (nodes.length === 0) return "No tasks yet.";
  const path = critical.length > 1 ? `; the critical path has ${critical.length}` : "";
  const how = summarised ? " Too many to draw one by one: those of one layer and state are one box with their number." : "";
  return `${count(nodes.length)} in all${path}.${how}`;
}

customElements.define("stig-task-graph", TaskGraph);
