// Dialogs: a sheet at the side for details, a small form for a decision. Esc and the button close.

import { h, icon } from "./dom.js";

export function openSheet(title, content, { wide = false, onClose = () => {} } = {}) {
  const heading = h("h2", { id: "sheet-title", dir: "auto" }, title);
  const close = h("button", { type: "button", class: "button icon-only", "aria-label": "Close", on: { click: () => dialog.close() } }, icon("close"));
  const dialog = h("dialog", { class: `sheet${wide ? " wide" : ""}`, "aria-labelledby": "sheet-title" },
    h("div", { class: "sheet-head" }, heading, close), h("div", { class: "sheet-body" }, content));
  dialog.heading = heading;
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("close", () => { dialog.remove(); onClose(); });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

// fields: [{ name, label, kind, value, required, hint, options }]. `submit(values)` may throw an
// ApiError, whose problem is shown and the dialog stays.
export function openForm({ title, note = "", fields, action, danger = false, submit }) {
  const problem = h("p", { class: "problem", role: "alert" });
  const inputs = new Map(fields.map((field) => [field.name, input(field)]));
  const button = h("button", { type: "submit", class: `button ${danger ? "danger" : "primary"}` }, action);
  const form = h("form", { class: "form", novalidate: true },
    note ? h("p", { class: "form-note" }, note) : null,
    ...fields.map((field) => row(field, inputs.get(field.name))),
    problem,
    h("div", { class: "form-buttons" }, h("button", { type: "button", class: "button", on: { click: () => dialog.close() } }, "Never mind"), button));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const wrong = fields.map((field) => [field, complaint(field, inputs.get(field.name))]).find(([, text]) => text);
    for (const field of fields) inputs.get(field.name).removeAttribute("aria-invalid");
    if (wrong) {
      const [field, text] = wrong;
      problem.textContent = text;
      inputs.get(field.name).setAttribute("aria-invalid", "true");
      inputs.get(field.name).focus();
      return;
    }
    problem.textContent = "";
    button.disabled = true;
    try {
      await submit(Object.fromEntries(fields.map((field) => [field.name, valueOf(field, inputs.get(field.name))])));
      dialog.close();
    } catch (error) {
      problem.textContent = problemText(error);
    } finally {
      button.disabled = false;
    }
  });
  const dialog = openSheet(title, form);
  dialog.classList.add("small");
  (inputs.get(fields[0]?.name) ?? button).focus();
  return dialog;
}

export function problemText(error) {
  const errors = error.problem?.errors;
  if (Array.isArray(errors) && errors.length > 0)
    return errors.map(({ where, what }) => `${String(where).replace(/^body\./, "")}: ${what}`).join("; ");
  return error.message;
}

function input({ name, kind = "text", value = "", required, options, min, max, placeholder }) {
  const attributes = { name, id: `field-${name}`, class: "field", required, placeholder, "aria-describedby": `hint-${name}` };
  if (kind === "select") {
    const select = h("select", attributes, ...options.map(([key, text]) => h("option", { value: key }, text)));
    select.value = value;
    return select;
  }
  const tag = kind === "lines" || kind === "json" ? "textarea" : "input";
  const element = h(tag, { ...attributes, ...(tag === "input" ? { type: kind, min, max, step: kind === "number" ? 1 : null } : { rows: kind === "json" ? 4 : 3 }), autocomplete: "off", spellcheck: kind === "lines" });
  element.value = value;
  return element;
}

function row({ name, label, hint }, field) {
  return h("div", { class: "form-row" }, h("label", { for: `field-${name}` }, label), field, h("span", { class: "hint", id: `hint-${name}` }, hint ?? ""));
}

function complaint({ label, kind, required, min, max }, field) {
  const text = field.value.trim();
  if (required && text === "") return `${label} is missing.`;
  if (kind === "number" && text !== "") {
    const number = Number(text);
    if (!Number.isInteger(number) || (min !== undefined && number < min) || (max !== undefined && number > max))
      return `${label} is a whole number from ${min} to ${max}.`;
  }
  if (kind === "json" && text !== "") {
    try {
      const value = JSON.parse(text);
      if (typeof value !== "object" || value === null || Array.isArray(value)) return `${label} is a JSON object, such as {"n": 1}.`;
    } catch (error) {
      return `${label} is no JSON: ${error.message}`;
    }
  }
  return "";
}

function valueOf({ kind }, field) {
  const text = field.value.trim();
  if (kind === "number") return text === "" ? null : Number(text);
  if (kind === "json") return text === "" ? {} : JSON.parse(text);
  return text;
}
