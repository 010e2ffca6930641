// What happened, line by line, the latest first.

import { h, setText } from "../dom.js";
import { Part, part } from "../part.js";
import { short, time } from "../text.js";

class Activity extends Part {
  static parts = ["activity"];

  build() {
    this.rows = new Map();
    this.list = part("stig-virtual-list", this.app, (list) =>
      list.configure({
        label: "What happened, the latest first", rowHeight: 26, empty: "Nothing has happened yet.",
        make: () => {
          const [when, text] = [h("span", { class: "line-when" }), h("span", { class: "line-text", dir: "auto" })];
          const row = h("div", { class: "line" }, when, text);
          row.stig = { when, text };
          return row;
        },
        update: (row, key) => {
          const entry = this.rows.get(key);
          if (!entry) return;
          setText(row.stig.when, time(entry.at));
          setText(row.stig.text, short(entry.text, 400));
        },
      }),
    );
    this.append(this.list);
  }

  show() {
    this.rows = new Map();
    this.store.activity.forEach((entry, at) => this.rows.set(`${entry.seq}.${this.rows.has(`${entry.seq}.0`) ? at : 0}`, entry));
    this.list.setKeys([...this.rows.keys()].reverse());
  }
}

customElements.define("stig-activity", Activity);
