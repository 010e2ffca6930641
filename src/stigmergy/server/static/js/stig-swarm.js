// <stig-swarm src="http://127.0.0.1:8420" token="…">: a swarm at a glance, in any page.
//
// One file, no imports, nothing global but the element; a module or a plain script. It follows the
// server's stream and paints when something changed; where the stream cannot be had it asks every
// two seconds. While the page is hidden it does neither. All that it shows is set as text.
//
// getStatus() says it in short: { state, primaryMetric, secondaryMetric, lastActivity, message }.
// The event `stig-status` tells of every change of it.

{
  const FALLBACK_MS = 2000;
  const RETRY_STREAM_MS = 30_000;
  const SILENCE_MS = 35_000;
  const MOST_AGENTS = 60;
  const MOST_LINES = 8;
  const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]/gu;

  const CSS = `
    :host { display: block; font: 13px/1.45 system-ui, sans-serif; color: var(--stig-ink, #16191d); background: var(--stig-panel, #fff); border: 1px solid var(--stig-line, #dde1e5); border-radius: 8px; padding: 12px 14px; min-width: 0; color-scheme: light; --tone: #5d6770; }
    @media (prefers-color-scheme: dark) { :host { color: var(--stig-ink, #e9edf0); background: var(--stig-panel, #15191d); border-color: var(--stig-line, #282f36); color-scheme: dark; } }
    :host([hidden]) { display: none; }
    header { display: flex; gap: 8px; align-items: baseline; flex-wrap: wrap; }
    h2 { font-size: 13px; margin: 0; overflow-wrap: anywhere; flex: 1; min-width: 0; }
    .state, .label { font-weight: 600; font-size: 12px; }
    .label { opacity: .8; overflow-wrap: anywhere; }
    .stats, .two { display: grid; gap: 8px; grid-template-columns: repeat(3, 1fr); margin: 10px 0; }
    .two { grid-template-columns: repeat(2, 1fr); }
    .stats div, .two div { min-width: 0; }
    dl { margin: 0; } dt, .muted { opacity: .78; font-size: 12px; } dd { margin: 0; font-size: 18px; font-weight: 600; font-variant-numeric: tabular-nums; }
    .two dd { font-size: 14px; }
    h3 { font-size: 12px; margin: 10px 0 4px; }
    ul { list-style: none; margin: 0; padding: 0; max-height: 200px; overflow: auto; }
    li { display: flex; gap: 8px; padding: 2px 0; min-width: 0; }
    li b, li span { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; min-width: 0; unicode-bidi: isolate; }
    li b { flex: 0 1 auto; max-width: 16ch; } li .what { flex: 1; opacity: .8; } li .how { font-weight: 600; font-size: 12px; }
    button { font: inherit; margin-top: 10px; padding: 4px 12px; border: 1px solid currentColor; border-radius: 5px; background: transparent; color: inherit; cursor: pointer; }
    button:disabled { opacity: .55; cursor: default; }
    :focus-visible { outline: 2px solid #0b5fd0; outline-offset: 2px; }
  `;

  const make = (tag, attributes = {}, ...children) => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  };

  const short = (value, most = 120) => {
    const text = String(value ?? "").slice(0, most * 4).replace(/\s+/g, " ").replace(UNSEEN, "\ufffd");
    return text.length > most ? `${text.slice(0, most - 1)}…` : text;
  };

  const write = (element, text) => {
    if (element.textContent !== text) element.textContent = text;
  };

  const known = (value) => (value === null || value === undefined ? "unknown" : String(value));

  class StigSwarm extends HTMLElement {
    static observedAttributes = ["src", "token"];

    #token = null;
    #rows = new Map();
    #agents = new Map();
    #activity = [];
    #run = {};
    #metrics = {};
    #votes = new Map();
    #alerts = new Map();
    #at = null;
    #connection = "idle";
    #why = "";
    #stop = null;
    #frame = 0;
    #parts = null;
    #told = "";

    constructor() {
      super();
      this.attachShadow({ mode: "open" });
      this.visible = () => (document.hidden ? this.#end("hidden") : this.#begin());
    }

    get token() {
      return this.#token ?? this.getAttribute("token");
    }

    // Better than the attribute: it stands in no page's source.
    set token(value) {
      this.#token = value;
      if (this.isConnected) this.#begin();
    }

    connectedCallback() {
      this.#build();
      document.addEventListener("visibilitychange", this.visible);
      this.visible();
    }

    disconnectedCallback() {
      document.removeEventListener("visibilitychange", this.visible);
      this.#end("idle");
    }

    attributeChangedCallback() {
      if (this.#parts && this.isConnected) this.visible();
    }

    getStatus() {
      const working = [...this.#agents.values()].filter(({ task_id: task }) => task).length;
      const done = this.#metrics.tasks_completed;
      return {
        state: this.#connection !== "live" && this.#connection !== "polling" ? "disabled" : working > 0 ? "active" : "idle",
        primaryMetric: `${this.#agents.size} agents`,
        secondaryMetric: `${known(done)} tasks done`,
        lastActivity: this.#at === null ? null : this.#at * 1000,
        message: this.#connection === "refused" ? this.#why : this.#connection === "lost" ? "No connection" : this.#agents.size === 0 ? "No agents" : null,
      };
    }

    // Ask now, whatever the stream does.
    async refresh() {
      this.#parts.button.disabled = true;
      try {
        await this.#ask(this.#stop?.signal);
      } finally {
        this.#parts.button.disabled = false;
      }
    }

    get #base() {
      return (this.getAttribute("src") ?? "").replace(/\/+$/, "");
    }

    #headers(accept) {
      return { Accept: accept, ...(this.token ? { Authorization: `Bearer ${this.token}` } : {}) };
    }

    #begin() {
      this.#end("connecting");
      this.#stop = new AbortController();
      this.#follow(this.#stop.signal);
    }

    #end(state) {
      this.#stop?.abort();
      this.#stop = null;
      this.#connect(state);
    }

    #connect(state, why = "") {
      this.#connection = state;
      this.#why = why;
      this.#changed();
    }

    // The stream as long as it lasts; between two tries of it, every two seconds a question.
    async #follow(signal) {
      while (!signal.aborted) {
        try {
          await this.#stream(signal);
        } catch (error) {
          if (signal.aborted) return;
          if (error.refused) {
            this.#connect("refused", error.message);
            return;
          }
        }
        const until = performance.now() + RETRY_STREAM_MS;
        while (!signal.aborted && performance.now() < until) {
          await new Promise((resolve) => setTimeout(resolve, FALLBACK_MS));
          if (signal.aborted) return;
          const answered = await this.#ask(signal);
          if (answered && this.#connection === "lost") break; // it is back: the stream may be, too
          this.#connect(answered ? "polling" : "lost");
        }
      }
    }

    async #ask(signal) {
      try {
        const response = await fetch(`${this.#base}/api/v1/live/snapshot`, { headers: this.#headers("application/json"), cache: "no-store", signal });
        if (!response.ok) return false;
        this.#snapshot(await response.json());
        return true;
      } catch {
        return false;
      }
    }

    async #stream(signal) {
      const silence = new AbortController();
      const stop = () => silence.abort();
      signal.addEventListener("abort", stop);
      let timer = setTimeout(stop, SILENCE_MS);
      try {
        const response = await fetch(`${this.#base}/api/v1/live`, { headers: this.#headers("text/event-stream"), cache: "no-store", signal: silence.signal });
        if (!response.ok) {
          const problem = await response.json().catch(() => ({}));
          throw Object.assign(new Error(problem.detail ?? `the server answered ${response.status}`), { refused: [401, 403].includes(response.status) });
        }
        this.#connect("live");
        const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
        let rest = "";
        for (;;) {
          const { value, done } = await reader.read();
          if (done) return;
          clearTimeout(timer);
          timer = setTimeout(stop, SILENCE_MS);
          const messages = (rest + value).split("\n\n");
          rest = messages.pop();
          for (const message of messages) this.#message(message);
        }
      } finally {
        clearTimeout(timer);
        signal.removeEventListener("abort", stop);
        silence.abort();
      }
    }

    #message(text) {
      const lines = text.split("\n");
      const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5)).join("\n");
      if (!data) return;
      if (lines.includes("event: snapshot")) this.#snapshot(JSON.parse(data));
      else if (lines.includes("event: delta")) this.#delta(JSON.parse(data));
    }

    #snapshot(document) {
      this.#agents = new Map(Object.entries(document.agents ?? {}));
      this.#votes = new Map(Object.entries(document.votes ?? {}));
      this.#alerts = new Map(Object.entries(document.alerts ?? {}));
      this.#activity = (document.activity ?? []).slice(-MOST_LINES);
      this.#run = document.run ?? {};
      this.#metrics = { ...document.metrics };
      this.#at = document.at ?? null;
      this.#changed();
    }

    #delta({ set = {}, del = {}, append = {}, replace = {}, at }) {
      for (const [name, table] of [["agents", this.#agents], ["votes", this.#votes], ["alerts", this.#alerts]]) {
        for (const [key, row] of Object.entries(set[name] ?? {})) table.set(key, row);
        for (const key of del[name] ?? []) table.delete(key);
      }
      this.#activity = [...this.#activity, ...(append.activity ?? [])].slice(-MOST_LINES);
      Object.assign(this.#metrics, replace.metrics);
      this.#run = { ...this.#run, ...replace.run };
      if (at !== undefined) this.#at = at;
      this.#changed();
    }

    #changed() {
      if (this.#frame || !this.#parts) return;
      this.#frame = requestAnimationFrame(() => {
        this.#frame = 0;
        this.#paint();
      });
    }

    #build() {
      if (this.#parts) return;
      const sheet = new CSSStyleSheet();
      sheet.replaceSync(CSS);
      this.shadowRoot.adoptedStyleSheets = [sheet];
      const figure = (name) => {
        const value = make("dd");
        return [value, make("div", {}, make("dt", {}, name), value)];
      };
      const [tasks, tasksBox] = figure("Tasks done");
      const [success, successBox] = figure("Success");
      const [landed, landedBox] = figure("Landed");
      const [waiting, waitingBox] = figure("For a person");
      const [alerts, alertsBox] = figure("Alerts");
      const parts = { tasks, success, landed, waiting, alerts };
      parts.title = make("h2", { dir: "auto" });
      parts.state = make("span", { class: "state", role: "status" });
      parts.label = make("span", { class: "label", dir: "auto" });
      parts.count = make("h3");
      parts.agents = make("ul", { "aria-label": "Agents", tabindex: "0" });
      parts.lines = make("ul", { "aria-label": "Activity", tabindex: "0" });
      parts.button = make("button", { type: "button" }, "Refresh");
      parts.button.addEventListener("click", () => this.refresh());
      this.#parts = parts;
      this.shadowRoot.append(
        make("header", {}, parts.title, parts.state), parts.label,
        make("dl", { class: "stats" }, tasksBox, successBox, landedBox),
        parts.count, parts.agents,
        make("dl", { class: "two" }, waitingBox, alertsBox),
        make("h3", {}, "Activity"), parts.lines, parts.button);
    }

    #paint() {
      const { title, state, label, tasks, success, landed, waiting, alerts, count, agents, lines } = this.#parts;
      const m = this.#metrics;
      write(title, short(this.#run.run_id || "Swarm", 60));
      write(label, short(this.#run.label, 120));
      const words = { live: this.#run.state ?? "live", polling: `${this.#run.state ?? "live"} (asked every 2 s)`, lost: "no connection", refused: `no access: ${short(this.#why, 80)}`, connecting: "connecting …", hidden: "at rest", idle: "at rest" };
      write(state, words[this.#connection]);
      const done = m.tasks_completed;
      const ended = (done ?? 0) + (m.tasks_failed ?? 0);
      write(tasks, known(done));
      write(success, done === undefined || ended === 0 ? "unknown" : `${Math.round((done / ended) * 100)} %`);
      write(landed, known(m.landings));
      write(waiting, String([...this.#votes.values()].filter((vote) => vote.state === "waiting").length));
      write(alerts, String(this.#alerts.size));
      const busy = [...this.#agents.values()].filter(({ task_id: task }) => task).length;
      write(count, `Agents (${busy} of ${this.#agents.size} at work)`);
      this.#paintAgents(agents);
      lines.replaceChildren(...[...this.#activity].reverse().map((line) => make("li", {}, make("span", { class: "what", dir: "auto" }, short(line.text, 160)))));
      const status = this.getStatus();
      const told = JSON.stringify(status);
      if (told !== this.#told) {
        this.#told = told;
        this.dispatchEvent(new CustomEvent("stig-status", { detail: status }));
      }
    }

    #paintAgents(list) {
      const rank = { stuck: 0, working: 1, waiting: 2, idle: 3, gone: 4 };
      const rows = [...this.#agents.values()].sort((a, b) => rank[a.state] - rank[b.state] || a.id.localeCompare(b.id, "en", { numeric: true })).slice(0, MOST_AGENTS);
      const wanted = new Set(rows.map(({ id }) => id));
      for (const [id, row] of this.#rows) {
        if (wanted.has(id)) continue;
        row.remove();
        this.#rows.delete(id);
      }
      rows.forEach((agent, at) => {
        let row = this.#rows.get(agent.id);
        if (!row) {
          row = make("li", {}, make("b", { dir: "auto" }), make("span", { class: "what", dir: "auto" }), make("span", { class: "how" }));
          this.#rows.set(agent.id, row);
        }
        write(row.children[0], short(String(agent.id).split("/").pop(), 40));
        write(row.children[1], short([agent.task_id, agent.doing].filter(Boolean).join(" · "), 120));
        write(row.children[2], short(agent.state, 20));
        if (list.children[at] !== row) list.insertBefore(row, list.children[at] ?? null);
      });
    }
  }

  if (!customElements.get("stig-swarm")) customElements.define("stig-swarm", StigSwarm);
}
