// A landing's commit: its message, its files and its patch, coloured by what a line is.

import { h } from "../dom.js";
import { clean, count, dayTime, short } from "../text.js";

const MOST_LINES = 6000;

export async function commitSheet(app, oid) {
  const place = h("div", { class: "commit" }, h("p", { class: "empty", role: "status" }, "Reading …"));
  const dialog = app.sheet(`Commit ${short(oid, 10)}`, place, { wide: true });
  try {
    const commit = await app.api.get(`/api/v1/commits/${encodeURIComponent(oid)}`);
    if (!dialog.isConnected) return;
    dialog.heading.textContent = short(commit.subject, 160);
    place.replaceChildren(...page(commit));
  } catch (error) {
    place.replaceChildren(h("p", { class: "empty", role: "alert" }, `It cannot be read: ${error.message}`));
  }
}

function page(commit) {
  return [
    h("p", { class: "muted", dir: "auto" }, `${commit.oid.slice(0, 12)} · ${short(commit.author, 80)} · ${dayTime(commit.at)}`),
    commit.body ? h("pre", { class: "commit-body", dir: "auto" }, clean(commit.body)) : null,
    ...changes(commit),
  ].filter(Boolean);
}

// The files and the patch of an answer about a commit.
export function changes(commit) {
  return [
    h("ul", { class: "files" }, ...commit.files.map(fileRow)),
    commit.diff ? h("div", { class: "diff", role: "region", tabindex: "0", "aria-label": "Patch" }, ...diffLines(commit.diff)) : h("p", { class: "empty" }, "It changes no text."),
    commit.truncated ? h("p", { class: "muted" }, "The patch is longer than is shown; git has the rest.") : null,
  ].filter(Boolean);
}

function fileRow({ path, added, removed }) {
  return h("li", {}, h("span", { class: "added" }, added === null ? "binary" : `+${count(added)}`), removed === null ? null : h("span", { class: "removed" }, `−${count(removed)}`), h("span", { dir: "auto" }, clean(path)));
}

export function diffLines(diff) {
  const lines = diff.split("\n");
  if (lines[lines.length - 1] === "") lines.pop();
  const rows = lines.slice(0, MOST_LINES).map((line) => h("div", { class: `diff-line ${kindOf(line)}` }, clean(line) || " "));
  if (lines.length > MOST_LINES) rows.push(h("div", { class: "diff-line meta" }, `… ${count(lines.length - MOST_LINES)} lines more`));
  return rows;
}

export function kindOf(line) {
  if (/^(diff |index |--- |\+\+\+ |new file|deleted file|old mode|new mode|similarity|rename |Binary )/.test(line)) return "meta";
  if (line.startsWith("@@")) return "hunk";
  if (line.startsWith("+")) return "add";
  if (line.startsWith("-")) return "del";
  return "same";
}
