// The built project's own page, from the target branch, in a frame that can do no harm.

import { h, setText } from "../dom.js";
import { Part } from "../part.js";

class Preview extends Part {
  static parts = ["landings"];

  build() {
    this.button = h("button", { type: "button", class: "button primary", on: { click: () => this.load() } }, "Show the project as it stands");
    this.note = h("p", { class: "preview-note", role: "status" },
      "The page comes from the target branch and runs in a sandboxed frame: no origin, no token, nothing but its own files.");
    this.stage = h("div", { class: "preview-stage" });
    this.append(h("div", { class: "panel-tools" }, this.button, this.note), this.stage);
  }

  show() {
    if (!this.commit) return;
    const last = this.store.landings[this.store.landings.length - 1];
    if (last?.commit && last.commit !== this.commit) setText(this.button, "More has landed: show it");
  }

  async load() {
    try {
      const { commit, index, url } = await this.app.api.get("/api/v1/preview");
      this.commit = commit;
      setText(this.button, "Load again");
      if (index === null) {
        this.stage.replaceChildren(h("p", { class: "empty" }, `There is no index.html at ${commit.slice(0, 10)}: this project has no page to show.`));
        return;
      }
      setText(this.note, `${index} at ${commit.slice(0, 10)}`);
      this.stage.replaceChildren(h("iframe", { src: this.app.api.base + url, sandbox: "allow-scripts", title: "The built project", referrerpolicy: "no-referrer", class: "preview-frame" }));
    } catch (error) {
      this.stage.replaceChildren(h("p", { class: "empty" }, `There is no preview: ${error.message}`));
    }
  }
}

customElements.define("stig-preview", Preview);
