// What a person can do to the whole swarm: pause, resume, more or fewer agents, a task more.

import { h, icon, setAttribute, setText } from "../dom.js";
import { Part } from "../part.js";
import { openForm, problemText } from "../sheet.js";
import { short } from "../text.js";

class Controls extends Part {
  static parts = ["paused", "run", "access", "feed", "metrics", "connection"];

  build() {
    this.pause = h("button", { type: "button", class: "button", on: { click: () => this.toggle() } }, (this.pauseIcon = h("span", { class: "icon-slot" })), (this.pauseText = h("span")));
    this.wanted = h("output", { class: "stepper-value", "aria-label": "Agents wanted" });
    this.fewer = h("button", { type: "button", class: "button icon-only", "aria-label": "One agent less", on: { click: () => this.agents(-1) } }, icon("minus"));
    this.more = h("button", { type: "button", class: "button icon-only", "aria-label": "One agent more", on: { click: () => this.agents(1) } }, icon("plus"));
    this.task = h("button", { type: "button", class: "button", on: { click: () => this.post() } }, icon("plus"), h("span", {}, "Task"));
    this.why = h("span", { class: "denied", id: "why-denied" });
    this.stepper = h("span", { class: "stepper", role: "group", "aria-label": "Agents" }, this.fewer, h("span", { class: "stepper-label" }, this.wanted, " agents"), this.more);
    this.append(this.pause, this.stepper, this.task, this.why);
  }

  show() {
    const { store, app } = this;
    const denied = app.denied();
    const all = store.paused.includes("*");
    setText(this.pauseText, all ? "Resume" : "Pause");
    if (this.drawn !== all) {
      this.drawn = all;
      this.pauseIcon.replaceChildren(icon(all ? "play" : "pause"));
    }
    setAttribute(this.pause, "title", denied ?? (all ? "Let tasks be claimed again" : "Let no task be claimed; what is held goes on"));
    setText(this.wanted, store.run.agents_wanted === null || store.run.agents_wanted === undefined ? "?" : String(store.run.agents_wanted));
    setAttribute(this.stepper, "hidden", !store.run.run_id);
    for (const button of [this.pause, this.fewer, this.more, this.task]) {
      setAttribute(button, "disabled", denied !== null);
      setAttribute(button, "aria-describedby", denied ? "why-denied" : null);
    }
    if (!denied && Number(this.wanted.value) <= 1) setAttribute(this.fewer, "disabled", true);
    setText(this.why, denied ?? "");
    setAttribute(this.why, "hidden", denied === null);
  }

  async act(work, said) {
    try {
      await work();
      this.app.say(said);
    } catch (error) {
      this.app.complain(problemText(error));
    }
  }

  toggle() {
    const all = this.store.paused.includes("*");
    return this.act(() => this.app.api.post(all ? "/api/v1/resume" : "/api/v1/pause", { task_type: null }), all ? "The swarm goes on" : "The swarm is paused");
  }

  agents(step) {
    const count = Math.max(1, Number(this.store.run.agents_wanted ?? this.store.metrics.agents_working ?? 0) + step);
    return this.act(() => this.app.api.post("/api/v1/agents", { count }), `${count} agents are wanted`);
  }

  post() {
    openForm({
      title: "Post a task", action: "Post it",
      fields: [
        { name: "task_type", label: "Type", required: true, placeholder: "code", hint: "Agents claim by type." },
        { name: "description", label: "What is to be done", kind: "lines", required: true },
        { name: "priority", label: "Priority", kind: "number", min: 1, max: 10, value: "5", required: true, hint: "1 is taken first, 10 last." },
        { name: "depends_on", label: "After these tasks", hint: "Ids, with commas between; may be empty." },
        { name: "payload", label: "Payload", kind: "json", placeholder: "{}", hint: "A JSON object; may be empty." },
      ],
      submit: async ({ depends_on: ids, ...task }) => {
        const posted = await this.app.api.post("/api/v1/tasks", { ...task, depends_on: ids.split(",").map((id) => id.trim()).filter(Boolean) });
        this.app.say(`Posted ${short(posted.task_ids?.[0] ?? "the task", 80)}`);
      },
    });
  }
}

customElements.define("stig-controls", Controls);
