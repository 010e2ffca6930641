// One agent's conversation: what its model said, which tools it used, what came back; with search.

import { h, keyed, setAttribute, setText } from "../dom.js";
import { Part } from "../part.js";
import { agentName, big, clean, seconds, short, time } from "../text.js";

const natural = new Intl.Collator("en", { numeric: true });
const MOST_SHOWN = 1500;
const AGAIN_MS = 1000;
const FOLD_CHARS = 900;

const SOURCES = {
  conversation: "As the gateway kept it: every prompt, answer and tool result, bounded, with secrets taken out.",
  journal: "From the agent's own progress: no conversation was kept for this task.",
  unknown: "Unknown: nothing was kept of what this agent or its model said about this task.",
};

class LogViewer extends Part {
  static parts = ["agents", "connection"];

  build() {
    this.agent = null;
    this.task = "";
    this.entries = [];
    this.agents = h("select", { class: "field", "aria-label": "Agent", on: { change: () => this.choose(this.agents.value) } });
    this.tasks = h("select", { class: "field", "aria-label": "Task", on: { change: () => this.load(this.agent, this.tasks.value) } });
    this.search = h("input", { type: "search", class: "field", "aria-label": "Search", placeholder: "Search in it", autocomplete: "off", spellcheck: "false", on: { input: () => this.filter() } });
    this.found = h("span", { class: "log-found", role: "status" });
    this.followed = h("input", { type: "checkbox", checked: true });
    this.note = h("p", { class: "log-note" });
    this.list = h("ol", { class: "log", tabindex: "0", "aria-label": "Conversation" });
    this.append(
      h("div", { class: "panel-tools log-tools" }, label("Agent", this.agents), label("Task", this.tasks), label("Search", this.search), this.found,
        h("label", { class: "check" }, this.followed, h("span", {}, "Follow"))),
      this.note, this.list);
  }

  show() {
    const ids = [...this.store.agents.keys()].sort(natural.compare);
    const wanted = this.app.parameters?.agent ?? this.agent ?? ids.find((id) => this.store.agents.get(id).state === "working") ?? ids[0];
    options(this.agents, ids, (id) => `${agentName(id)} (${this.store.agents.get(id).state})`);
    if (wanted !== undefined && wanted !== this.agent) this.choose(wanted);
    else this.refresh();
  }

  parametersChanged() {
    const { agent, task } = this.app.parameters ?? {};
    if (agent && agent !== this.agent) this.choose(agent, task ?? "");
  }

  choose(agent, task = "") {
    this.app.parameters = { agent };
    this.agents.value = agent;
    this.load(agent, task);
  }

  load(agent, task) {
    this.agent = agent;
    this.task = task;
    this.entries = [];
    this.next = 0;
    this.seenRow = null;
    this.list.replaceChildren();
    this.version = (this.version ?? 0) + 1;
    this.fetch();
  }

  // Asks again when the agent's row has changed, at most once a second.
  refresh() {
    const row = this.store.agents.get(this.agent);
    if (!row || row === this.seenRow || this.timer) return;
    this.timer = setTimeout(() => {
      this.timer = null;
      if (this.isConnected) this.fetch();
    }, AGAIN_MS);
  }

  async fetch() {
    if (!this.agent || this.fetching === this.version) return;
    const version = this.version;
    this.fetching = version;
    this.seenRow = this.store.agents.get(this.agent);
    try {
      let more = true;
      while (more && version === this.version && this.entries.length < MOST_SHOWN) {
        const query = new URLSearchParams({ after: String(this.next), ...(this.task ? { task_id: this.task } : {}) });
        const page = await this.app.api.get(`/api/v1/agents/${encodeURIComponent(this.agent)}/conversation?${query}`);
        if (version !== this.version) return;
        this.take(page);
        more = page.more;
      }
    } catch (error) {
      if (version === this.version) setText(this.note, `It cannot be read: ${error.message}`);
    } finally {
      if (this.fetching === version) this.fetching = null;
    }
  }

  take(page) {
    if (page.task_id && this.shownTask !== undefined && page.task_id !== this.shownTask && this.task === "" && this.next > 0) {
      this.load(this.agent, ""); // the agent has gone on to another task
      return;
    }
    this.shownTask = page.task_id;
    const ids = [...new Set(page.tasks.map(({ task_id: id }) => id))].reverse();
    options(this.tasks, ["", ...ids], (id) => (id === "" ? `the latest (${page.task_id ? short(page.task_id, 40) : "none"})` : short(id, 60)));
    this.tasks.value = this.task;
    setText(this.note, this.entries.length + page.entries.length === 0 ? SOURCES.unknown : SOURCES[page.source]);
    const bottom = this.list.scrollTop + this.list.clientHeight >= this.list.scrollHeight - 30;
    for (const entry of page.entries) {
      this.entries.push(entry);
      this.list.append(entryRow(entry));
    }
    this.next = page.next;
    this.filter();
    if (this.followed.checked && bottom && !this.search.value) this.list.scrollTop = this.list.scrollHeight;
  }

  filter() {
    const query = this.search.value.trim().toLowerCase();
    let hits = 0;
    for (const row of this.list.children) {
      const hit = query === "" || row.plain.includes(query);
      setAttribute(row, "hidden", !hit);
      if (hit) hits += 1;
      row.paint(query);
    }
    setText(this.found, query === "" ? "" : `${hits} of ${this.list.children.length}`);
  }
}

function entryRow(entry) {
  const body = h("div", { class: "log-body" });
  const pieces = piecesOf(entry);
  const texts = pieces.map(({ text, kind }) => {
    const long = text.length > FOLD_CHARS && kind !== "said";
    const element = h(kind === "code" || kind === "result" ? "pre" : "p", { class: `log-text log-${kind}`, dir: "auto" });
    body.append(long ? h("details", {}, h("summary", {}, `${short(text, 110)}`), element) : element);
    return { element, text };
  });
  const row = h("li", { class: "log-entry", "data-kind": entry.kind },
    h("div", { class: "log-head" }, h("span", { class: "log-who" }, whoOf(entry)), h("span", { class: "log-facts" }, factsOf(entry)), h("time", {}, time(entry.at))), body);
  row.plain = `${whoOf(entry)} ${pieces.map(({ text }) => text).join(" ")}`.toLowerCase();
  row.query = null;
  row.paint = (query) => {
    if (row.query === query) return;
    row.query = query;
    for (const { element, text } of texts) element.replaceChildren(...marked(text, query));
    if (query) for (const details of row.querySelectorAll("details")) details.open = true;
  };
  row.paint("");
  return row;
}

function piecesOf(entry) {
  const pieces = [];
  const add = (text, kind) => { if (text) pieces.push({ text: clean(text), kind }); };
  if (entry.kind === "said") {
    add(entry.reasoning, "reasoning");
    add(entry.text, "said");
    for (const call of entry.calls ?? []) add(`${call.name} ${pretty(call.arguments)}`, "code");
  } else if (entry.kind === "result" || entry.kind === "output") add(entry.text, "result");
  else if (entry.kind === "tool") add(`${entry.name} ${entry.text}`.trim(), "code");
  else if (entry.kind === "done") add(`${entry.name} ${entry.ok ? "went well" : "FAILED"} after ${seconds(entry.duration_ms / 1000)}`, "note");
  else add(entry.text, entry.kind === "text" ? "said" : "note");
  return pieces;
}

function pretty(text) {
  try {
    const value = JSON.parse(text);
    return Object.entries(value).map(([name, one]) => `${name}=${typeof one === "string" ? one : JSON.stringify(one)}`).join("\n  ");
  } catch {
    return text;
  }
}

function whoOf(entry) {
  const who = {
    said: "Model", text: "Model", prompt: entry.role === "system" ? "Instructions" : "Task", result: `Result of ${clean(entry.name || "a tool")}`,
    tool: "Tool", done: "Tool", output: "Output", notice: "Notice", commit: "Commit", event: "Board", cut: "Cut",
  };
  return who[entry.kind] ?? clean(entry.kind);
}

function factsOf(entry) {
  if (entry.kind !== "said") return "";
  const unknown = (entry.prompt_tokens ?? entry.completion_tokens ?? null) === null;
  const tokens = unknown ? "tokens unknown" : `${big(entry.prompt_tokens)} + ${big(entry.completion_tokens)} tokens`;
  return `${entry.replayed ? "replayed · " : ""}${short(entry.model, 60)} · ${tokens}`;
}

function marked(text, query) {
  if (!query) return [text];
  const parts = [];
  const low = text.toLowerCase();
  let from = 0;
  for (let at = low.indexOf(query); at >= 0; at = low.indexOf(query, from)) {
    parts.push(text.slice(from, at), h("mark", {}, text.slice(at, at + query.length)));
    from = at + query.length;
  }
  parts.push(text.slice(from));
  return parts;
}

function options(select, keys, write) {
  keyed(select, keys, { make: (key) => h("option", { value: key }), update: (option, key) => setText(option, write(key)) });
}

function label(text, field) {
  return h("label", { class: "labelled" }, h("span", {}, text), field);
}

customElements.define("stig-log-viewer", LogViewer);
