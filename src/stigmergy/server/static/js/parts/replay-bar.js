// A replay's place and speed. Shown only where what is seen does not happen now.

import { h, icon, setAttribute, setText } from "../dom.js";
import { Part } from "../part.js";
import { problemText } from "../sheet.js";
import { seconds, time } from "../text.js";

const SPEEDS = [0.5, 1, 2, 5, 10, 30, 60, 300, 1000];
const STEPS = 1000;

class ReplayBar extends Part {
  static parts = ["feed", "run"];
  static everySecond = true;

  build() {
    this.toggle = h("button", { type: "button", class: "button icon-only", on: { click: () => this.change({ paused: !this.replay.paused }) } });
    this.place = h("input", {
      type: "range", min: "0", max: String(STEPS), step: "1", class: "range", "aria-label": "Place in the replay",
      on: {
        input: () => { this.held = true; setText(this.now, time(this.at())); },
        change: () => { this.held = false; this.change({ at: this.at() }); },
      },
    });
    this.now = h("span", { class: "replay-now" });
    this.speed = h("select", { class: "field small", "aria-label": "Speed", on: { change: () => this.change({ speed: Number(this.speed.value) }) } });
    this.append(h("strong", { class: "replay-word" }, "REPLAY"), this.toggle, this.place, this.now, this.speed);
    setAttribute(this, "role", "region");
    setAttribute(this, "aria-label", "Replay");
  }

  get replay() {
    return this.store.feed.replay;
  }

  at() {
    const { begins, ends } = this.replay;
    return begins + (Number(this.place.value) / STEPS) * (ends - begins);
  }

  show() {
    const { replay } = this;
    setAttribute(this, "hidden", !replay);
    if (!replay) return;
    if (this.drawn !== replay.paused) {
      this.drawn = replay.paused;
      this.toggle.replaceChildren(icon(replay.paused ? "play" : "pause"));
      setAttribute(this.toggle, "aria-label", replay.paused ? "Play" : "Stand still");
    }
    const speeds = [...new Set([...SPEEDS, replay.speed])].sort((a, b) => a - b);
    if (this.speeds !== speeds.join()) {
      this.speeds = speeds.join();
      this.speed.replaceChildren(...speeds.map((one) => h("option", { value: String(one) }, `× ${one}`)));
    }
    this.speed.value = String(replay.speed);
    if (this.held) return;
    const now = this.store.now() ?? replay.at;
    const span = replay.ends - replay.begins;
    this.place.value = String(span > 0 ? Math.round(((now - replay.begins) / span) * STEPS) : STEPS);
    setAttribute(this.place, "aria-valuetext", `${seconds(now - replay.begins)} of ${seconds(span)}`);
    setText(this.now, `${time(now)} · ${seconds(now - replay.begins)} of ${seconds(span)}`);
  }

  async change(change) {
    try {
      await this.app.api.post("/api/v1/replay", change);
    } catch (error) {
      this.app.complain(problemText(error));
    }
  }
}

customElements.define("stig-replay-bar", ReplayBar);
