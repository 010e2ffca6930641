// Which run this is, how it stands, and whether what is shown is as of now.

import { h, setAttribute, setText } from "../dom.js";
import { Part } from "../part.js";
import { ago, seconds, short } from "../text.js";

const WORDS = {
  connecting: "connecting …", live: "live", reconnecting: "reconnecting …", refused: "no access",
};

class RunHead extends Part {
  static parts = ["run", "feed", "paused", "connection"];
  static everySecond = true;

  build() {
    this.runId = h("span", { class: "run-id", dir: "auto" });
    this.state = h("span", { class: "pill" });
    this.label = h("span", { class: "label-chip", dir: "auto" });
    this.facts = h("span", { class: "run-facts", dir: "auto" });
    this.link = h("span", { class: "link-state", role: "status" });
    this.append(h("div", { class: "run-line" }, this.runId, this.state, this.link, this.label), this.facts);
  }

  show() {
    const { run, connection, reason, paused } = this.store;
    setText(this.runId, run.run_id ? short(run.run_id, 60) : this.store.ready ? "A board without a run" : "…");
    const state = paused.includes("*") && run.state === "running" ? "paused" : (run.state ?? "unknown");
    setText(this.state, state);
    setAttribute(this.state, "data-state", state);
    setText(this.label, short(run.label ?? "", 160));
    setAttribute(this.label, "title", short(run.label ?? "", 300));
    setAttribute(this.label, "hidden", !run.label);
    setText(this.facts, factsOf(this.store));
    const replay = this.store.feed.replay;
    const gone = connection === "reconnecting" && run.state === "ended";
    setText(this.link, connection === "live" && replay ? (replay.paused ? "replay stands still" : `replay × ${replay.speed}`) : gone ? "no longer served" : WORDS[connection]);
    setAttribute(this.link, "data-state", connection);
    setAttribute(this.link, "title", gone ? "The run has ended, and its server with it. `stig replay` plays it again." : reason);
  }
}

function factsOf(store) {
  const { run } = store;
  if (!store.ready) return "";
  const parts = [];
  if (run.verdict) parts.push(run.verdict);
  if (run.target) parts.push(`onto ${String(run.target).replace("refs/heads/", "")}`);
  if (run.model) parts.push(modelName(run.model));
  if (run.started_at) parts.push(run.ended_at ? `took ${seconds(run.ended_at - run.started_at)}` : `for ${ago(store.since(run.started_at))}`);
  return short(parts.join(" · "), 300);
}

// A recording is told by its file's name: where it lies is nobody's business.
function modelName(model) {
  const [kind, path] = String(model).split(/:(.*)/);
  return kind === "replay" && path ? `replay:${path.split("/").pop()}` : model;
}

customElements.define("stig-run-head", RunHead);
