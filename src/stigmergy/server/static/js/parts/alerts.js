// What needs a person: the reason and what to do. Told aloud once each, and not in a chatter.

import { h, keyed, setAttribute, setText } from "../dom.js";
import { glyph } from "../glyphs.js";
import { Part } from "../part.js";
import { ago, short } from "../text.js";

const MOST = 6;

class Alerts extends Part {
  static parts = ["alerts"];
  static everySecond = true;

  build() {
    this.told = new Set();
    this.list = h("ul", { class: "alerts" });
    this.more = h("p", { class: "alerts-more" });
    this.append(this.list, this.more);
    setAttribute(this, "role", "region");
    setAttribute(this, "aria-label", "Alerts");
  }

  show() {
    const { alerts } = this.store;
    const order = { critical: 0, warning: 1 };
    const rows = [...alerts.values()].sort((a, b) => (order[a.severity] ?? 2) - (order[b.severity] ?? 2) || b.since - a.since);
    setAttribute(this, "hidden", rows.length === 0);
    keyed(this.list, rows.slice(0, MOST).map(({ id }) => id), {
      make: () => {
        const parts = {
          text: h("strong", { dir: "auto" }), action: h("span", { class: "alert-action", dir: "auto" }), when: h("span", { class: "alert-when" }),
        };
        const row = h("li", { class: "alert" }, glyph("warning"), h("span", { class: "alert-text" }, parts.text, " ", parts.action), parts.when);
        row.stig = parts;
        return row;
      },
      update: (row, id) => {
        const alert = alerts.get(id);
        setAttribute(row, "data-severity", alert.severity);
        setText(row.stig.text, short(alert.text, 300));
        setText(row.stig.action, short(alert.action, 300));
        setText(row.stig.when, ago(this.store.since(alert.since)));
      },
    });
    setText(this.more, rows.length > MOST ? `and ${rows.length - MOST} more` : "");
    const news = rows.filter(({ id }) => !this.told.has(id));
    this.told = new Set(rows.map(({ id }) => id));
    if (news.length > 0) this.app.speak(news.length === 1 ? `Alert: ${short(news[0].text, 120)}` : `${news.length} new alerts`);
  }
}

customElements.define("stig-alerts", Alerts);
