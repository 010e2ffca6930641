// What a person is asked to approve: the work with its patch, or the items of a plan.

import { h } from "../dom.js";
import { clean, count, short } from "../text.js";
import { changes } from "./commit-sheet.js";

export async function approvalSheet(app, id) {
  const place = h("div", { class: "commit" }, h("p", { class: "empty", role: "status" }, "Reading …"));
  const dialog = app.sheet(short(id, 120), place, { wide: true });
  try {
    const task = await app.api.get(`/api/v1/tasks/${encodeURIComponent(id)}`);
    if (!dialog.isConnected) return;
    const { payload = {}, description } = task.task ?? task;
    dialog.heading.textContent = short(description, 160);
    place.replaceChildren(decision(app, id, dialog), ...(await about(app, payload)));
  } catch (error) {
    place.replaceChildren(h("p", { class: "empty", role: "alert" }, `It cannot be read: ${error.message}`));
  }
}

function decision(app, id, dialog) {
  const denied = app.denied();
  const button = (yes) => h("button", {
    type: "button", class: `button ${yes ? "primary" : "danger"}`, disabled: denied !== null, title: denied,
    on: { click: () => { dialog.close(); app.decide(id, yes); } },
  }, yes ? "Approve …" : "Refuse …");
  return h("div", { class: "sheet-actions", role: "group", "aria-label": "What to do with it" }, button(true), button(false));
}

async function about(app, payload) {
  if (payload.asks === "landing") return landing(app, payload);
  if (payload.asks === "plan") return plan(payload);
  return [h("pre", { class: "task-progress" }, clean(JSON.stringify(payload, null, 2)).slice(0, 20_000))];
}

async function landing(app, { summary, concerns, commit, base }) {
  const said = [
    summary ? h("pre", { class: "commit-body", dir: "auto" }, clean(summary)) : null,
    concerns?.length ? h("ul", { class: "concerns", "aria-label": "Concerns" }, ...concerns.map((one) => h("li", { dir: "auto" }, clean(one)))) : null,
  ].filter(Boolean);
  if (!commit) return [...said, h("p", { class: "empty" }, "It names no commit.")];
  const since = base ? `?${new URLSearchParams({ since: base })}` : "";
  return [...said, ...changes(await app.api.get(`/api/v1/commits/${encodeURIComponent(commit)}${since}`))];
}

function plan({ items = [], count: all }) {
  const rows = items.map((item) => h("li", {},
    h("b", { dir: "auto" }, `${short(item.key, 60)} ${short(item.title, 200)}`),
    item.scope?.length ? h("span", { class: "muted", dir: "auto" }, ` ${short(item.scope.join(", "), 300)}`) : null,
    item.depends_on?.length ? h("span", { class: "muted", dir: "auto" }, ` after ${short(item.depends_on.join(", "), 200)}`) : null));
  const more = all > items.length ? h("p", { class: "muted" }, `… and ${count(all - items.length)} more.`) : null;
  return [h("ol", { class: "plan-items", "aria-label": "Items of the plan" }, ...rows), more].filter(Boolean);
}
