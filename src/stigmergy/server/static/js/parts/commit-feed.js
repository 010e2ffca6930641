// What landed on the target and what came back, the latest first; a landing's diff on a click.

import { h, setAttribute, setText } from "../dom.js";
import { glyph, setGlyph } from "../glyphs.js";
import { Part, part } from "../part.js";
import { ago, seconds, short, time } from "../text.js";

class CommitFeed extends Part {
  static parts = ["landings", "returns", "items"];
  static everySecond = true;

  build() {
    this.rows = new Map();
    this.list = part("stig-virtual-list", this.app, (list) =>
      list.configure({
        label: "Landings and returns, the latest first", rowHeight: 46, empty: "Nothing has landed yet.",
        make: () => this.row(), update: (row, key) => this.fill(row, key),
      }),
    );
    this.append(this.list);
  }

  show(dirty) {
    if (dirty.has("landings") || dirty.has("returns")) {
      this.rows = new Map([
        ...this.store.landings.map((row) => [`l${row.id}`, { ...row, landed: true }]),
        ...this.store.returns.map((row) => [`r${row.id}`, { ...row, landed: false }]),
      ]);
      const keys = [...this.rows.keys()];
      keys.sort((a, b) => this.rows.get(b).at - this.rows.get(a).at || Number(b.slice(1)) - Number(a.slice(1)));
      this.list.setKeys(keys);
    } else {
      this.list.paint();
    }
  }

  row() {
    const parts = {
      mark: glyph("landed"), head: h("span", { class: "feed-key", dir: "auto" }), title: h("span", { class: "feed-title", dir: "auto" }),
      sub: h("span", { class: "feed-sub", dir: "auto" }), when: h("span", { class: "feed-when" }),
    };
    const row = h("div", { class: "feed-cell" });
    const button = h("button", { type: "button", class: "feed-row", "data-main": "", on: { click: () => this.open(row.dataset.key) } },
      parts.mark, h("span", { class: "feed-text" }, h("span", { class: "feed-line" }, parts.head, parts.title), parts.sub), parts.when);
    row.append(button);
    row.stig = { ...parts, button };
    return row;
  }

  fill(row, key) {
    const entry = this.rows.get(key);
    if (!entry) return;
    const { mark, head, title, sub, when, button } = row.stig;
    const item = this.store.items.get(entry.key);
    setGlyph(mark, entry.landed ? "landed" : "returned");
    setAttribute(button, "data-state", entry.landed ? "landed" : "returned");
    setText(head, short(entry.key, 60));
    setText(title, short(item?.title ?? "", 160));
    setText(sub, entry.landed ? landedText(entry) : returnedText(entry));
    setText(when, ago(this.store.since(entry.at)));
    setAttribute(when, "title", time(entry.at));
  }

  open(key) {
    const entry = this.rows.get(key);
    if (entry?.landed && entry.commit) this.app.open("commit", entry.commit);
    else if (entry?.fix) this.app.open("task", entry.fix);
  }
}

function landedText(entry) {
  const parts = [entry.commit ? entry.commit.slice(0, 10) : "no commit"];
  if (entry.gate_s !== null && entry.gate_s !== undefined) parts.push(`gate ${seconds(entry.gate_s)}`);
  if (entry.batch_size > 1) parts.push(`in a batch of ${entry.batch_size}`);
  return parts.join(" · ");
}

function returnedText(entry) {
  const then = entry.fix ? `${short(entry.fix, 60)} will mend it` : "given up";
  return `came back (${short(entry.kind, 40)}): ${then}`;
}

customElements.define("stig-commit-feed", CommitFeed);
