// What waits for a person, and what was decided: by whom, and why.

import { h, keyed, setAttribute, setText } from "../dom.js";
import { glyph, setGlyph } from "../glyphs.js";
import { Part } from "../part.js";
import { agoText, short } from "../text.js";
import { approvalSheet } from "./approval-sheet.js";

class Votes extends Part {
  static parts = ["votes", "access", "connection"];
  static everySecond = true;

  build() {
    this.list = h("ul", { class: "votes", "aria-label": "Approvals and votes" });
    this.none = h("p", { class: "empty" }, "Nothing waits for a person.");
    this.append(this.list, this.none);
  }

  show() {
    const { votes } = this.store;
    const rows = [...votes.values()].sort((a, b) => Number(b.state === "waiting") - Number(a.state === "waiting") || (b.asked_at ?? 0) - (a.asked_at ?? 0));
    this.none.hidden = rows.length > 0;
    keyed(this.list, rows.map(({ id }) => id), { make: (id) => this.row(id), update: (row, id) => this.fill(row, votes.get(id)) });
  }

  row(id) {
    const parts = { mark: glyph("waiting"), title: h("b", { dir: "auto" }), sub: h("span", { class: "muted", dir: "auto" }) };
    const approve = h("button", { type: "button", class: "button primary", on: { click: () => this.app.decide(id, true) } }, "Approve …");
    const refuse = h("button", { type: "button", class: "button danger", on: { click: () => this.app.decide(id, false) } }, "Refuse …");
    const look = h("button", { type: "button", class: "button", on: { click: () => approvalSheet(this.app, id) } }, "Look …");
    const buttons = h("span", { class: "vote-buttons" }, look, approve, refuse);
    const row = h("li", { class: "vote" }, parts.mark, h("span", { class: "vote-text" }, parts.title, parts.sub), buttons);
    row.stig = { ...parts, look, approve, refuse, buttons };
    return row;
  }

  fill(row, vote) {
    const { mark, title, sub, look, approve, refuse, buttons } = row.stig;
    const waiting = vote.state === "waiting";
    setGlyph(mark, vote.state);
    setAttribute(row, "data-state", vote.state);
    setText(title, short(vote.title || vote.id, 200));
    const why = vote.reason ? `: ${short(vote.reason, 200)}` : "";
    setText(sub, waiting ? `${short(vote.kind, 40)}, asked ${agoText(this.store.since(vote.asked_at))}` : `${vote.state}${vote.by ? ` by ${short(vote.by, 60)}` : ""}${why}`);
    setAttribute(buttons, "hidden", !waiting);
    const denied = this.app.denied();
    for (const button of [approve, refuse]) {
      button.disabled = denied !== null;
      setAttribute(button, "title", denied);
    }
    setAttribute(look, "aria-label", `Look at ${short(vote.title || vote.id, 80)}`);
    setAttribute(approve, "aria-label", `Approve ${short(vote.title || vote.id, 80)}`);
    setAttribute(refuse, "aria-label", `Refuse ${short(vote.title || vote.id, 80)}`);
  }
}

customElements.define("stig-votes", Votes);
