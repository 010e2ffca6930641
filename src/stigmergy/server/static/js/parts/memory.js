// What the swarm has learned: the latest entries, and a search over all of it.

import { h, keyed, setText } from "../dom.js";
import { Part } from "../part.js";
import { ago, agentName, agoText, count, short } from "../text.js";

class Memory extends Part {
  static parts = ["memory", "access"];
  static everySecond = true;

  build() {
    this.counts = h("p", { class: "panel-note" });
    this.query = h("input", { type: "search", class: "field", placeholder: "Search the memory", "aria-label": "Search the memory", autocomplete: "off" });
    this.results = h("ul", { class: "memory-list", "aria-label": "Search results" });
    this.said = h("p", { class: "panel-note", role: "status" });
    this.held = h("p", { class: "panel-note" });
    this.latest = h("ul", { class: "memory-list", "aria-label": "Latest memory entries" });
    this.none = h("p", { class: "empty" }, "Nothing has been written to the memory.");
    this.form = h("form", { class: "panel-tools", role: "search", on: { submit: (event) => { event.preventDefault(); this.search(); } } },
      this.query, h("button", { class: "button", type: "submit" }, "Search"));
    this.append(this.held, this.counts, this.form, this.said, this.results, h("h3", { class: "sub" }, "Latest in the journal"), this.latest, this.none);
  }

  // What is not there is not asked for: the browser would tell of an error.
  begin({ known, memory }) {
    if (!known || this.begun) return;
    this.begun = true;
    if (memory) this.look();
    else this.without();
  }

  without() {
    this.form.hidden = true;
    setText(this.held, "This board keeps no memory: stig run --memory-namespace NS or stig serve --memory FILE gives it one.");
  }

  async look() {
    try {
      const { entries, namespaces } = await this.app.api.get("/api/v1/memory");
      const names = namespaces.map((one) => `${short(one.namespace, 60)} (${count(one.entries)})`);
      setText(this.held, entries === 0 ? "It is empty." : `${count(entries)} entries: ${short(names.join(", "), 400)}`);
    } catch (error) {
      if (error.status === 404) this.without();
      else setText(this.held, `It cannot be read: ${error.message}`);
    }
  }

  show() {
    this.begin(this.app.access);
    const { memory } = this.store;
    setText(this.counts, memory.reads === null && memory.writes === null ? "" : `${count(memory.reads ?? 0)} reads, ${count(memory.writes ?? 0)} writes, as the journal tells them`);
    const rows = new Map((memory.latest ?? []).map((row) => [String(row.id), row]));
    this.none.hidden = rows.size > 0;
    keyed(this.latest, [...rows.keys()].reverse(), { make: memoryRow, update: (row, id) => this.fill(row, rows.get(id)) });
  }

  fill(row, entry) {
    setText(row.stig.key, short(entry.key ?? entry.id, 120));
    setText(row.stig.where, `${short(entry.namespace, 60)} · ${short(entry.kind ?? "", 40)}`);
    setText(row.stig.by, `${entry.by ? agentName(entry.by) : ""} ${entry.at ? ago(this.store.since(entry.at)) : ""}`);
  }

  hit({ namespace, key, kind, value, tags, updated_at: at, origin }) {
    const by = [origin?.agent_id && agentName(origin.agent_id), origin?.task_id && short(origin.task_id, 60)].filter(Boolean).join(", ");
    const facts = [namespace, kind, tags?.length ? tags.map((tag) => `#${tag}`).join(" ") : "", by, agoText(Date.now() / 1000 - at)];
    return h("li", { class: "memory-hit" }, h("b", { dir: "auto" }, short(key, 120)),
      h("p", { dir: "auto" }, short(valueText(value), 500)), h("p", { class: "muted", dir: "auto" }, short(facts.filter(Boolean).join(" · "), 300)));
  }

  async search() {
    const text = this.query.value.trim();
    if (text === "") return;
    try {
      const found = await this.app.api.get(`/api/v1/memory/search?${new URLSearchParams({ q: text, limit: "30" })}`);
      setText(this.said, found.hits.length === 0 ? `Nothing found for "${short(text, 60)}".` : `${found.hits.length} found.`);
      this.results.replaceChildren(...found.hits.map((hit) => this.hit(hit)));
    } catch (error) {
      this.results.replaceChildren();
      setText(this.said, error.status === 404 ? "This board keeps no memory." : `The search failed: ${error.message}`);
    }
  }
}

function valueText(value) {
  if (typeof value === "string") return value;
  if (typeof value?.description === "string") return [value.outcome, value.description].filter(Boolean).join(": ");
  return JSON.stringify(value);
}

function memoryRow() {
  const parts = { key: h("b", { dir: "auto" }), where: h("span", { class: "muted", dir: "auto" }), by: h("span", { class: "muted end" }) };
  const row = h("li", { class: "memory-row" }, parts.key, " ", parts.where, parts.by);
  row.stig = parts;
  return row;
}

customElements.define("stig-memory", Memory);
