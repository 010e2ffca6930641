// One task: what is known of it, what happened to it, and what can be done with it.

import { h } from "../dom.js";
import { glyph, stateText } from "../glyphs.js";
import { openForm, problemText } from "../sheet.js";
import { clean, dayTime, seconds, short, time } from "../text.js";
import { approvalSheet } from "./approval-sheet.js";

const FINAL = new Set(["completed", "failed", "cancelled"]);

export async function taskSheet(app, id) {
  const place = h("div", { class: "task-sheet" });
  let leave = () => {};
  const dialog = app.sheet(short(id, 120), place, { onClose: () => leave() });
  let history = null;
  let whole = null;
  let seen;
  const draw = () => {
    const row = app.store.tasks.get(id) ?? fromApi(whole);
    if (row === seen?.row && history === seen?.history && app.denied() === seen?.denied) return;
    seen = { row, history, denied: app.denied() };
    place.replaceChildren(...page(app, id, row, whole, history, dialog));
  };
  leave = app.store.subscribe(["tasks", "access", "connection"], draw);
  draw();
  const path = `/api/v1/tasks/${encodeURIComponent(id)}`;
  [whole, history] = await Promise.all([
    app.api.get(path).catch(() => null),
    app.api.get(`${path}/history`).then((found) => found.events ?? found.history ?? found).catch((error) => error),
  ]);
  if (dialog.isConnected) draw();
}

function fromApi(whole) {
  const task = whole?.task ?? whole;
  if (!task?.task_id) return null;
  return { ...task, id: task.task_id, type: task.task_type, title: String(task.description ?? "").split("\n")[0], posted_at: task.created_at };
}

function page(app, id, task, whole, history, dialog) {
  if (!task) return [h("p", { class: "empty" }, history === null ? "Reading …" : "The board has no such task any more.")];
  const description = (whole?.task ?? whole)?.description ?? task.title;
  return [
    h("p", { class: "task-state", "data-state": task.status }, glyph(task.status), ` ${stateText(task.status)}`, task.waits_for_person ? " · waits for a person" : ""),
    h("div", { class: "sheet-actions", role: "group", "aria-label": "What to do with it" }, ...actions(app, id, task, dialog)),
    app.denied() ? h("p", { class: "denied" }, app.denied()) : null,
    h("pre", { class: "task-description", dir: "auto" }, clean(description)),
    task.error ? h("pre", { class: "task-error", dir: "auto" }, clean(task.error)) : null,
    h("dl", { class: "facts" }, ...facts(task).flatMap(([name, value]) => [h("dt", {}, name), h("dd", { dir: "auto" }, value)])),
    task.progress ? h("pre", { class: "task-progress" }, clean(JSON.stringify(task.progress, null, 2)).slice(0, 4000)) : null,
    h("h3", { class: "sub" }, "What happened"),
    happened(history),
  ].filter(Boolean);
}

function facts(task) {
  const list = (names) => (names?.length ? names.map((name) => short(name, 60)).join(", ") : null);
  return [
    ["Type", short(task.type, 60)], ["Priority", String(task.priority)], ["Tries", `${task.attempts} of ${task.max_attempts}`],
    ["Held by", task.claimed_by ? short(task.claimed_by, 80) : null], ["Depends on", list(task.depends_on)], ["Part of", task.parent_id ? short(task.parent_id, 80) : null],
    ["Posted", dayTime(task.posted_at)], ["Finished", task.finished_at ? dayTime(task.finished_at) : null],
    ["Took", task.finished_at && task.claimed_at ? seconds(task.finished_at - task.claimed_at) : null],
  ].filter(([, value]) => value !== null);
}

function actions(app, id, task, dialog) {
  const path = `/api/v1/tasks/${encodeURIComponent(id)}`;
  const denied = app.denied();
  const button = (text, kind, act) => h("button", { type: "button", class: `button ${kind}`, disabled: denied !== null, title: denied, on: { click: act } }, text);
  const buttons = [];
  if (task.waits_for_person && !FINAL.has(task.status))
    buttons.push(h("button", { type: "button", class: "button", on: { click: () => { dialog.close(); approvalSheet(app, id); } } }, "Look …"), button("Approve …", "primary", () => app.decide(id, true)), button("Refuse …", "danger", () => app.decide(id, false)));
  if (!FINAL.has(task.status)) {
    buttons.push(button("Change priority …", "", () => openForm({
      title: `Priority of ${short(id, 60)}`, action: "Change it",
      fields: [{ name: "priority", label: "Priority", kind: "number", min: 1, max: 10, value: String(task.priority), required: true, hint: "1 is taken first, 10 last." }],
      submit: async ({ priority }) => { await app.api.post(`${path}/priority`, { priority }); app.say(`Priority of ${short(id, 60)} is ${priority}`); },
    })));
    buttons.push(button("Cancel …", "danger", () => openForm({
      title: `Cancel ${short(id, 60)}?`, note: "Its holder is refused when it reports. What depends on it fails.", action: "Cancel the task", danger: true, fields: [],
      submit: async () => { await app.api.post(`${path}/cancel`, {}); app.say(`${short(id, 60)} is cancelled`); },
    })));
  }
  if (task.status === "failed" || task.status === "cancelled")
    buttons.push(button("Try again", "primary", async (event) => {
      event.target.disabled = true;
      try {
        await app.api.post(`${path}/retry`, {});
        app.say(`${short(id, 60)} begins anew`);
      } catch (error) {
        app.complain(problemText(error));
        event.target.disabled = false;
      }
    }));
  if (task.claimed_by) buttons.push(h("button", { type: "button", class: "button", on: { click: () => { dialog.close(); app.go("log", { agent: task.claimed_by, task: id }); } } }, "Its conversation"));
  return buttons;
}

function happened(history) {
  if (history === null) return h("p", { class: "muted", role: "status" }, "Reading …");
  if (!Array.isArray(history)) return h("p", { class: "muted" }, `It cannot be read: ${history?.message ?? UNREAD}`);
  const rows = history.slice(-200).map((event) => {
    const data = event.data ?? {};
    const detail = [data.kind, data.name, data.brief, data.text, data.error, data.reason, data.summary].filter(Boolean).join(" ");
    return h("li", { class: "line" }, h("span", { class: "line-when" }, time(event.at)), h("b", {}, short(event.kind, 40)), " ", h("span", { class: "line-text", dir: "auto" }, short(detail, 240)));
  });
  return h("ol", { class: "history" }, ...rows);
}

const UNREAD = "the answer was not understood";
