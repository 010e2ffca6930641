// Every agent as a tile: its state by colour, shape and word; what it does, since when, its tokens.

import { h, keyed, setAttribute, setText } from "../dom.js";
import { AGENT_STATES, glyph, setGlyph, stateText } from "../glyphs.js";
import { Part, part } from "../part.js";
import { agentName, ago, big, count, short, UNKNOWN } from "../text.js";

const natural = new Intl.Collator("en", { numeric: true });

class AgentGrid extends Part {
  static parts = ["agents", "connection"];
  static everySecond = true;

  build() {
    this.state = null;
    this.query = "";
    this.order = [];
    this.filters = h("div", { class: "chips", role: "group", "aria-label": "Show agents by state" });
    this.search = h("input", {
      type: "search", class: "field small", placeholder: "Find an agent or task", "aria-label": "Find an agent or task",
      autocomplete: "off", spellcheck: "false",
      on: { input: () => { this.query = this.search.value.trim().toLowerCase(); this.stale = true; this.show(new Set()); } },
    });
    this.list = part("stig-virtual-list", this.app, (list) =>
      list.configure({
        label: "Agents", rowHeight: 84, tileWidth: 232, empty: "No agent has come to this board yet.",
        make: () => this.tile(), update: (row, key) => this.fill(row, key),
      }),
    );
    this.append(h("div", { class: "panel-tools" }, this.filters, this.search), this.list);
  }

  show(dirty) {
    const { agents } = this.store;
    if (dirty.has("agents")) this.recount(agents);
    if (this.size !== agents.size || this.stale || (dirty.has("agents") && (this.state || this.query))) {
      this.size = agents.size;
      this.stale = false;
      this.order = [...agents.keys()].filter((id) => this.wants(agents.get(id))).sort(natural.compare);
      this.list.setKeys(this.order);
    } else {
      this.list.paint();
    }
  }

  wants(agent) {
    if (this.state && agent.state !== this.state) return false;
    if (!this.query) return true;
    return `${agent.id} ${agent.task_id ?? ""} ${agent.doing ?? ""}`.toLowerCase().includes(this.query);
  }

  recount(agents) {
    const counts = new Map();
    for (const agent of agents.values()) counts.set(agent.state, (counts.get(agent.state) ?? 0) + 1);
    const keys = AGENT_STATES.filter((state) => counts.has(state) || state === this.state);
    keyed(this.filters, ["", ...keys], {
      make: (state) => {
        const label = h("span");
        const button = h("button", { type: "button", class: "chip", on: { click: () => this.choose(state) } },
          state ? glyph(state) : null, label);
        if (state) button.dataset.state = state;
        button.label = label;
        return button;
      },
      update: (button, state) => {
        setText(button.label, state ? `${counts.get(state) ?? 0} ${stateText(state)}` : `${count(agents.size)} in all`);
        setAttribute(button, "aria-pressed", String((this.state ?? "") === state));
      },
    });
  }

  choose(state) {
    this.state = state || null;
    this.stale = true;
    this.show(new Set(["agents"]));
  }

  tile() {
    const parts = {
      glyph: glyph("idle"), name: h("span", { class: "tile-name", dir: "auto" }), state: h("span", { class: "tile-state" }),
      doing: h("span", { class: "tile-doing", dir: "auto" }), facts: h("span", { class: "tile-facts" }),
    };
    const row = h("div", { class: "tile-cell" });
    const button = h("button", { type: "button", class: "tile", "data-main": "", on: { click: () => this.app.go("log", { agent: row.dataset.key }) } },
      h("span", { class: "tile-head" }, parts.glyph, parts.name, parts.state), parts.doing, parts.facts);
    row.append(button);
    row.stig = { ...parts, button };
    return row;
  }

  fill(row, id) {
    const agent = this.store.agents.get(id);
    if (!agent) return;
    const { glyph: mark, name, state, doing, facts, button } = row.stig;
    if (row.seen !== agent) {
      row.seen = agent;
      setGlyph(mark, agent.state);
      setAttribute(button, "data-state", agent.state);
      setText(name, agentName(id));
      setAttribute(button, "title", short(id, 300));
      setText(state, stateText(agent.state));
      const task = agent.task_id ? short(agent.task_id, 60) : "";
      const what = agent.doing ? short(agent.doing, 160) : "";
      setText(doing, [task, what].filter(Boolean).join(" · ") || failure(agent) || "—");
    }
    const tokens = agent.tokens === null || agent.tokens === undefined ? `tokens ${UNKNOWN}` : `${big(agent.tokens)} tok`;
    const since = agent.since === null || agent.since === undefined ? "" : `${ago(this.store.since(agent.since))} · `;
    setText(facts, `${since}${tokens}${agent.finished ? ` · ${agent.finished} done` : ""}${agent.failed ? ` · ${agent.failed} failed` : ""}`);
  }
}

// What an idle agent did last, if that failed: a fact of the past, and no state.
function failure(agent) {
  const last = agent.last_failure;
  return last ? `last failed: ${short(last.task_id, 60)} · ${short(last.error, 120)}` : "";
}

customElements.define("stig-agent-grid", AgentGrid);

