// All tasks that the feed tells of, by state; cancel, retry and more are in a task's own sheet.

import { h, keyed, setAttribute, setText } from "../dom.js";
import { TASK_STATES, glyph, setGlyph, stateText } from "../glyphs.js";
import { Part, part } from "../part.js";
import { agentName, ago, count, short } from "../text.js";

const RANK = new Map(TASK_STATES.map((state, at) => [state, at]));

class TaskList extends Part {
  static parts = ["tasks", "tasks_total"];
  static everySecond = true;

  build() {
    this.state = "";
    this.query = "";
    this.filters = h("div", { class: "chips", role: "group", "aria-label": "Show tasks by state" });
    this.search = h("input", {
      type: "search", class: "field small", placeholder: "Find a task", "aria-label": "Find a task", autocomplete: "off", spellcheck: "false",
      on: { input: () => { this.query = this.search.value.trim().toLowerCase(); this.show(new Set(["tasks"])); } },
    });
    this.list = part("stig-virtual-list", this.app, (list) =>
      list.configure({
        label: "Tasks", rowHeight: 44, empty: "No such task.", make: () => this.row(), update: (row, key) => this.fill(row, key),
      }),
    );
    const heads = ["Task", "Type", "Priority", "Tries", "Held by", "Since"];
    this.append(h("div", { class: "panel-tools" }, this.filters, this.search),
      h("div", { class: "task-row task-head", "aria-hidden": "true" }, h("span"), ...heads.map((head) => h("span", {}, head))), this.list);
  }

  show(dirty) {
    if (!dirty.has("tasks")) {
      this.list.paint();
      return;
    }
    const { tasks } = this.store;
    const counts = new Map();
    const rows = [];
    for (const task of tasks.values()) {
      counts.set(task.status, (counts.get(task.status) ?? 0) + 1);
      if (this.wants(task)) rows.push(task);
    }
    rows.sort((a, b) => RANK.get(a.status) - RANK.get(b.status) || (b.finished_at ?? 0) - (a.finished_at ?? 0) || a.priority - b.priority || a.posted_at - b.posted_at);
    this.chips(counts);
    this.list.setKeys(rows.map(({ id }) => id));
  }

  wants(task) {
    if (this.state === "person" && !task.waits_for_person) return false;
    if (this.state && this.state !== "person" && task.status !== this.state) return false;
    if (!this.query) return true;
    return `${task.id} ${task.title ?? ""} ${task.type} ${task.claimed_by ?? ""}`.toLowerCase().includes(this.query);
  }

  chips(counts) {
    const people = [...this.store.tasks.values()].filter((task) => task.waits_for_person).length;
    const keys = ["", ...(people > 0 || this.state === "person" ? ["person"] : []), ...TASK_STATES.filter((state) => counts.has(state) || state === this.state)];
    keyed(this.filters, keys, {
      make: (state) => {
        const label = h("span");
        const button = h("button", { type: "button", class: "chip", on: { click: () => { this.state = state; this.show(new Set(["tasks"])); } } },
          state && state !== "person" ? glyph(state) : null, label);
        if (state) button.dataset.state = state;
        button.label = label;
        return button;
      },
      update: (button, state) => {
        const text = state === "" ? `${count(this.store.tasks_total ?? this.store.tasks.size)} in all` : state === "person" ? `${people} for you` : `${counts.get(state) ?? 0} ${stateText(state)}`;
        setText(button.label, text);
        setAttribute(button, "aria-pressed", String(this.state === state));
      },
    });
  }

  row() {
    const cell = (name) => h("span", { class: `task-${name}` });
    const parts = { mark: glyph("pending"), id: h("b", { dir: "auto" }), title: h("span", { class: "task-title", dir: "auto" }), type: cell("type"), priority: cell("num"), tries: cell("num"), holder: cell("holder"), since: cell("when") };
    const row = h("div", { class: "task-cell" });
    const button = h("button", { type: "button", class: "task-row", "data-main": "", on: { click: () => this.app.open("task", row.dataset.key) } },
      parts.mark, h("span", { class: "task-what" }, parts.id, " ", parts.title), parts.type, parts.priority, parts.tries, parts.holder, parts.since);
    row.append(button);
    row.stig = { ...parts, button };
    return row;
  }

  fill(row, id) {
    const task = this.store.tasks.get(id);
    if (!task) return;
    const { mark, title, type, priority, tries, holder, since, button } = row.stig;
    if (row.seen !== task) {
      row.seen = task;
      setGlyph(mark, task.status);
      setAttribute(button, "data-state", task.status);
      setText(row.stig.id, short(id, 80));
      setText(title, task.waits_for_person ? `waits for a person: ${short(task.title, 160)}` : task.error ? short(task.error, 160) : short(task.title, 160));
      setText(type, short(task.type, 40));
      setText(priority, `p${task.priority}`);
      setText(tries, `${task.attempts}/${task.max_attempts}`);
      setText(holder, task.claimed_by ? agentName(task.claimed_by) : stateText(task.status));
    }
    setText(since, ago(this.store.since(task.finished_at ?? task.claimed_at ?? task.posted_at)));
  }
}

customElements.define("stig-task-list", TaskList);
