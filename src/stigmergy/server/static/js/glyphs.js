// A state is told by a shape as well as by a colour, so that neither is needed.

import { s } from "./dom.js";

const shapes = {
  ring: () => [s("circle", { cx: 6, cy: 6, r: 4, class: "glyph-line" })],
  dot: () => [s("circle", { cx: 6, cy: 6, r: 5, class: "glyph-fill" })],
  half: () => [
    s("circle", { cx: 6, cy: 6, r: 4, class: "glyph-line" }),
    s("path", { d: "M6 2a4 4 0 0 1 0 8z", class: "glyph-fill" }),
  ],
  triangle: () => [s("path", { d: "M6 .8 11.6 11H.4z", class: "glyph-fill" })],
  cross: () => [s("path", { d: "M2 2l8 8M10 2l-8 8", class: "glyph-line" })],
  dash: () => [s("path", { d: "M1.5 6h9", class: "glyph-line" })],
  tick: () => [s("path", { d: "M1.8 6.4 4.8 9.4 10.4 2.8", class: "glyph-line" })],
  square: () => [s("rect", { x: 1.5, y: 1.5, width: 9, height: 9, rx: 1.5, class: "glyph-fill" })],
  back: () => [s("path", { d: "M4.5 2 1.8 4.8l2.7 2.8M2 4.8h5.2a2.9 2.9 0 0 1 0 5.8H5", class: "glyph-line" })],
};

const states = {
  // agents
  idle: "ring", working: "dot", waiting: "half", stuck: "triangle", failed: "cross", gone: "dash",
  // tasks
  pending: "ring", claimed: "half", in_progress: "dot", completed: "tick", cancelled: "dash",
  // items
  coding: "dot", fixing: "square", queued: "half", landing: "half", landed: "tick",
  // votes, alerts and what came back
  approved: "tick", refused: "cross", warning: "triangle", critical: "triangle", returned: "back",
};

export const AGENT_STATES = ["working", "waiting", "stuck", "idle", "gone"];
export const TASK_STATES = ["in_progress", "claimed", "pending", "failed", "completed", "cancelled"];

export function stateText(state) {
  return String(state ?? "unknown").replace("_", " ");
}

export function glyph(state) {
  const svg = s("svg", { class: "glyph", viewBox: "0 0 12 12", "aria-hidden": "true", focusable: "false" });
  setGlyph(svg, state);
  return svg;
}

export function setGlyph(svg, state) {
  if (svg.getAttribute("data-state") === state) return;
  svg.setAttribute("data-state", state);
  svg.replaceChildren(...(shapes[states[state]] ?? shapes.ring)());
}
