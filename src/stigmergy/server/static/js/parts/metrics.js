// The numbers. What nobody measured says "unknown", never 0.

import { h, keyed, setAttribute, setText, setVariable } from "../dom.js";
import { Part } from "../part.js";
import { big, count, dollars, percent, rate, seconds } from "../text.js";

const BAR = ["completed", "claimed", "in_progress", "pending", "failed", "cancelled"];

const CELLS = [
  ["landings", "Landed", ({ store, m }) => [count(m.landings ?? (store.ready ? store.landings.length : null)), `${rate(m.landings_per_hour)} an hour${m.returns ? `, ${count(m.returns)} came back` : ""}`]],
  ["tasks", "Tasks", ({ store }) => [count(store.tasks_total), taskText(store.metrics)]],
  ["merge", "Merge success", ({ m }) => [percent(m.merge_success_rate), `of the queue's verdicts; ${count(m.retries)} retries, ${count(m.expired_leases)} expired leases`]],
  ["gate", "Gate", ({ store, m }) => [greenText(store.gate), `median ${seconds(m.gate_p50_s)}, longest ${seconds(m.gate_max_s)}`]],
  ["agents", "Agents at work", ({ store, m }) => [count(m.agents_working), `${count(m.agents_idle)} idle, ${count(m.agents_stuck)} stuck${store.run.agents_wanted ? `, ${store.run.agents_wanted} wanted` : ""}`]],
  ["tokens", "Tokens", ({ m }) => [tokensText(m), `${big(m.tokens_in_flight)} in flight, ${count(m.calls)} calls`]],
  ["cost", "Cost", ({ store, m }) => [costText(m), budgetText(store, m)]],
];

class Metrics extends Part {
  static parts = ["metrics", "run", "gate", "tasks_total", "landings"];

  build() {
    this.grid = h("dl", { class: "cells" });
    this.append(this.grid);
  }

  show() {
    const { store } = this;
    const facts = { store, m: store.metrics };
    keyed(this.grid, CELLS.map(([key]) => key), {
      make: (key) => {
        const [, label] = CELLS.find(([name]) => name === key);
        const cell = h("div", { class: "cell", "data-cell": key }, h("dt", {}, label));
        cell.value = h("dd", { class: "cell-value" });
        cell.note = h("dd", { class: "cell-note" });
        cell.append(cell.value, cell.note);
        if (key === "tasks") cell.append((cell.bar = h("dd", { class: "stack", "aria-hidden": "true" })));
        if (key === "cost") cell.append((cell.meter = h("dd", { class: "meter", "aria-hidden": "true" }, h("span"))));
        return cell;
      },
      update: (cell, key) => {
        const [, , read] = CELLS.find(([name]) => name === key);
        const [value, note] = read(facts);
        setText(cell.value, value);
        setText(cell.note, note);
        if (cell.bar) this.stack(cell.bar);
        if (cell.meter) this.meter(cell.meter);
        if (key === "gate") setAttribute(cell, "data-green", String(store.gate.target_green));
        setAttribute(cell.value, "data-unknown", value.startsWith("unknown"));
      },
    });
  }

  stack(bar) {
    const { metrics } = this.store;
    const parts = BAR.map((name) => [name, metrics[`tasks_${name}`] ?? 0]).filter(([, n]) => n > 0);
    keyed(bar, parts.map(([name]) => name), {
      make: (name) => h("span", { "data-state": name }),
      update: (span, name) => setVariable(span, "--share", String(metrics[`tasks_${name}`])),
    });
  }

  meter(meter) {
    const { metrics, run } = this.store;
    const spent = run.budget_usd ? (metrics.cost_usd ?? 0) / run.budget_usd : run.budget_tokens ? tokens(metrics) / run.budget_tokens : null;
    setAttribute(meter, "hidden", spent === null);
    if (spent === null) return;
    setVariable(meter.firstElementChild, "--share", `${Math.min(100, spent * 100).toFixed(1)}%`);
    setAttribute(meter, "data-state", spent >= 1 ? "over" : spent > 0.8 ? "near" : "fine");
  }
}

function tokens(m) {
  return (m.tokens_prompt ?? 0) + (m.tokens_completion ?? 0);
}

function tokensText(m) {
  const [prompt, completion] = [m.tokens_prompt, m.tokens_completion];
  if (prompt === null || prompt === undefined) return big(prompt);
  const least = m.calls_without_usage > 0 ? "≥ " : "";
  return `${least}${big(prompt + (completion ?? 0))}`;
}

function costText(m) {
  const least = m.cost_usd !== null && m.cost_usd !== undefined && m.calls_without_price > 0 ? "≥ " : "";
  return `${least}${dollars(m.cost_usd)}`;
}

function budgetText({ run }, m) {
  const unpriced = m.calls_without_price > 0 ? `, ${count(m.calls_without_price)} calls without a price` : "";
  if (run.budget_usd) return `of ${dollars(Number(run.budget_usd))}${unpriced}`;
  if (run.budget_tokens) return `of ${big(run.budget_tokens)} tokens${unpriced}`;
  return `no budget set${unpriced}`;
}

function taskText(m) {
  const names = [["completed", "done"], ["in_progress", "under way"], ["pending", "open"], ["failed", "failed"]];
  return names.filter(([name]) => m[`tasks_${name}`] !== undefined).map(([name, word]) => `${count(m[`tasks_${name}`])} ${word}`).join(", ");
}

function greenText(gate) {
  if (gate.running?.length) return "runs";
  if (gate.target_green === true) return "green";
  if (gate.target_green === false) return "RED";
  return "unknown";
}

customElements.define("stig-metrics", Metrics);
