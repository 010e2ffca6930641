// The whole: the views, where they lead, and what they share.

import { Api } from "../api.js";
import { h, icon, setAttribute, setText } from "../dom.js";
import { part } from "../part.js";
import { openForm, openSheet } from "../sheet.js";
import { Store } from "../store.js";
import { short } from "../text.js";
import { commitSheet } from "./commit-sheet.js";
import { taskSheet } from "./task-sheet.js";

const VIEWS = [
  ["", "Overview"], ["tasks", "Tasks"], ["graph", "Graph"], ["log", "Conversations"], ["preview", "Preview"], ["memory", "Memory & votes"],
];
const TOKEN = "stig.token";
const THEME = "stig.theme";
const SAY_MS = 4000;

class Dashboard extends HTMLElement {
  connectedCallback() {
    this.store = new Store();
    this.api = new Api({ base: this.getAttribute("base") ?? "", token: takeToken() });
    this.access = { write: true, reason: null, known: false, memory: false };
    this.parameters = {};
    this.app = this;
    this.build();
    this.route();
    this.onhash = () => this.route();
    addEventListener("hashchange", this.onhash);
    this.listen();
  }

  disconnectedCallback() {
    removeEventListener("hashchange", this.onhash);
    this.stop?.abort();
  }

  // What the parts use ------------------------------------------------------------------------

  go(view, parameters = {}) {
    this.parameters = parameters;
    const hash = `#/${view}${Object.keys(parameters).length ? `?${new URLSearchParams(parameters)}` : ""}`;
    if (location.hash === hash) this.route();
    else location.hash = hash;
  }

  open(kind, id) {
    if (kind === "commit") commitSheet(this, id);
    else if (kind === "task") taskSheet(this, id);
  }

  sheet(title, content, options) {
    return openSheet(title, content, options);
  }

  // Why nothing can be done here, or null.
  denied() {
    if (this.store.feed.replay) return "This is a replay: there is nothing to steer.";
    if (this.store.connection === "reconnecting" && this.store.run.state === "ended") return "The run has ended, and its server with it.";
    return this.access.reason;
  }

  decide(id, yes) {
    const vote = this.store.votes.get(id) ?? this.store.tasks.get(id);
    openForm({
      title: `${yes ? "Approve" : "Refuse"} ${short(id, 80)}?`, note: short(vote?.title ?? "", 300), action: yes ? "Approve" : "Refuse", danger: !yes,
      fields: [
        { name: "by", label: "Your name", required: true, value: sessionStorage.getItem("stig.by") ?? "" },
        { name: "reason", label: "Why", kind: "lines", required: !yes, hint: yes ? "May be empty." : "What depends on it fails with this reason." },
      ],
      submit: async ({ by, reason }) => {
        sessionStorage.setItem("stig.by", by);
        await this.api.post(`/api/v1/tasks/${encodeURIComponent(id)}/${yes ? "approve" : "refuse"}`, { by, reason });
        this.say(`${short(id, 60)} is ${yes ? "approved" : "refused"}`);
      },
    });
  }

  // Told to who cannot see it, at most every few seconds, the latest last.
  speak(text) {
    const wait = Math.max(0, (this.saidAt ?? -SAY_MS) + SAY_MS - performance.now());
    clearTimeout(this.saying);
    this.saying = setTimeout(() => {
      this.saidAt = performance.now();
      setText(this.spoken, text);
    }, wait);
  }

  // What somebody did here, told to everybody.
  say(text) {
    this.speak(text);
    this.toast(text, "");
  }

  complain(text) {
    this.toast(text, "bad");
  }

  toast(text, kind) {
    const toast = h("p", { class: `toast ${kind}`, ...(kind ? { role: "alert" } : { "aria-hidden": "true" }) }, text);
    this.toasts.append(toast);
    while (this.toasts.children.length > 3) this.toasts.firstElementChild.remove();
    setTimeout(() => toast.remove(), kind ? 12_000 : 5000);
  }

  // Within ------------------------------------------------------------------------------------

  build() {
    this.nav = h("nav", { class: "views", "aria-label": "Views" }, ...VIEWS.map(([view, name]) => h("a", { href: `#/${view}`, "data-view": view }, name)));
    this.main = h("main", { id: "main", tabindex: "-1" });
    this.spoken = h("p", { class: "spoken", role: "status" });
    this.toasts = h("div", { class: "toasts" });
    this.theme = h("button", { type: "button", class: "button icon-only", on: { click: () => this.nextTheme() } }, icon("theme"));
    this.key = h("button", { type: "button", class: "button icon-only", "aria-label": "Token", title: "Token", on: { click: () => this.askToken() } }, icon("key"));
    this.alerts = part("stig-alerts", this);
    this.votesBadge = h("span", { class: "badge" });
    this.nav.querySelector('[data-view="memory"]').append(this.votesBadge);
    const header = h("header", { class: "top" },
      h("div", { class: "top-row" }, h("a", { class: "brand", href: "#/" }, mark(), h("span", {}, "Stigmergy")), part("stig-run-head", this),
        h("div", { class: "top-tools" }, part("stig-controls", this), this.theme, this.key)),
      part("stig-replay-bar", this), this.nav);
    this.append(header, this.alerts, this.main, this.toasts, this.spoken);
    this.applyTheme(localStorage.getItem(THEME) ?? "auto");
    this.store.subscribe(["connection", "votes", "run"], () => this.onStore());
  }

  onStore() {
    const waiting = [...this.store.votes.values()].filter(({ state }) => state === "waiting").length;
    setText(this.votesBadge, waiting > 0 ? String(waiting) : "");
    setAttribute(this.votesBadge, "aria-label", waiting > 0 ? `${waiting} for you` : null);
    setAttribute(this.votesBadge, "role", waiting > 0 ? "img" : null);
    const { run, connection } = this.store;
    document.title = `${run.label ? `[${short(run.label, 30)}] ` : ""}${run.run_id ? `${short(run.run_id, 40)} · ` : ""}Stigmergy`;
    setAttribute(this, "data-connection", connection);
    if (connection === "refused" && !this.asking) this.askToken(this.store.reason);
  }

  route() {
    const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
    if (path.startsWith("token=")) return;
    const view = VIEWS.some(([name]) => name === path) ? path : "";
    if (query) this.parameters = Object.fromEntries(new URLSearchParams(query));
    for (const link of this.nav.children) setAttribute(link, "aria-current", link.dataset.view === view ? "page" : null);
    if (this.view === view) {
      for (const child of this.main.querySelectorAll("stig-log-viewer")) child.parametersChanged();
      return;
    }
    const first = this.view === undefined;
    this.view = view;
    this.main.replaceChildren(...this.content(view));
    setAttribute(this.main, "data-view", view || "overview");
    if (!first) this.main.focus({ preventScroll: true });
  }

  content(view) {
    const title = h("h1", { class: "spoken" }, VIEWS.find(([name]) => name === view)[1]);
    const panel = (name, tag, kind = "") => h("section", { class: `panel ${kind}`, "aria-label": name }, h("h2", {}, name), part(tag, this));
    const panels = {
      "": () => [part("stig-metrics", this), panel("Agents", "stig-agent-grid", "agents"), panel("Landings", "stig-commit-feed", "landings"),
        panel("Over time", "stig-charts", "over-time"), panel("Activity", "stig-activity", "activity")],
      tasks: () => [panel("Tasks", "stig-task-list", "fill")],
      graph: () => [panel("Task graph", "stig-task-graph", "fill")],
      log: () => [panel("Conversations", "stig-log-viewer", "fill")],
      preview: () => [panel("Preview", "stig-preview", "fill")],
      memory: () => [panel("Waiting for a person, and decided", "stig-votes", "votes-panel"), panel("Memory", "stig-memory", "memory-panel")],
    };
    return [title, ...panels[view]()];
  }

  async listen() {
    this.stop?.abort();
    this.stop = new AbortController();
    const { signal } = this.stop;
    this.store.connected("connecting");
    this.learnAccess();
    let lost = false;
    await this.api.listen("/api/v1/live", {
      signal,
      onState: (state, reason) => {
        this.store.connected(state, reason);
        if (state === "reconnecting" && !lost) {
          const ended = this.store.run.state === "ended";
          this.say(ended ? "The run has ended, and its server with it: stig replay plays it again" : "The connection is lost; trying again");
        }
        if (state === "live" && lost) this.say("Connected again");
        lost = state === "reconnecting";
      },
      onEvent: ({ type, data }) => {
        if (type === "snapshot") this.store.snapshot(JSON.parse(data));
        else if (type === "delta") this.store.delta(JSON.parse(data));
      },
    });
  }

  async learnAccess() {
    let found = {};
    try {
      found = await this.api.get("/api/v1/access");
    } catch {
      // The stream says what is wrong, if anything is.
    }
    const may = { read: "look", worker: "work" }[found.scope];
    const reason = found.read_only ? "This server was started to be read only." : may ? `This token may only ${may}: steering needs the admin token.` : null;
    // A server of an older version does not say whether it has a memory: it is asked for it.
    this.access = { write: reason === null, reason, known: true, memory: found.memory ?? true };
    this.store.mark({}, ["access"]);
  }

  askToken(reason = "") {
    this.asking = true;
    // What the server says of it is meant for programs.
    const unknown = reason.startsWith("send a good token");
    const said = !unknown ? reason : this.api.token ? "The server knows no such token." : "This server asks for a token.";
    const dialog = openForm({
      title: "Token", action: "Use it",
      note: `${said} It says where its tokens are when it starts. What you give is kept for this tab only.`.trim(),
      fields: [{ name: "token", label: "Token", kind: "password", required: true }],
      submit: async ({ token }) => {
        sessionStorage.setItem(TOKEN, token);
        this.api.token = token;
        this.listen();
      },
    });
    dialog.addEventListener("close", () => { this.asking = false; });
  }

  nextTheme() {
    const themes = ["auto", "light", "dark"];
    const next = themes[(themes.indexOf(document.documentElement.dataset.theme) + 1) % themes.length];
    localStorage.setItem(THEME, next);
    this.applyTheme(next);
  }

  applyTheme(theme) {
    document.documentElement.dataset.theme = theme;
    setAttribute(this.theme, "aria-label", `Colours: ${theme}`);
    setAttribute(this.theme, "title", `Colours: ${theme}`);
  }
}

// The token may come in the address's fragment, which no server sees; it does not stay there.
function takeToken() {
  const found = /^#\/?(?:\??)token=([^&]+)/.exec(location.hash);
  if (found) {
    sessionStorage.setItem(TOKEN, decodeURIComponent(found[1]));
    history.replaceState(null, "", `${location.pathname}${location.search}#/`);
  }
  return sessionStorage.getItem(TOKEN);
}

function mark() {
  const svg = icon("mark");
  svg.classList.add("mark");
  return svg;
}

customElements.define("stig-dashboard", Dashboard);
