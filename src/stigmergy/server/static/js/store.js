// What the server told last, and who wants to know when it changes.
//
// The server folds; this only applies rows by their keys. However many deltas arrive between two
// frames, every subscriber is called once a frame, with the names of the parts that changed.

const TABLES = ["agents", "tasks", "items", "votes", "alerts"];
const LISTS = { landings: 500, returns: 200, activity: 200, points: 600 };
const VALUES = ["run", "feed", "gate", "memory", "paused", "critical_path", "tasks_total"];

export class Store {
  constructor({ frame = requestAnimationFrame.bind(globalThis), clock = () => performance.now() } = {}) {
    this.frame = frame;
    this.clock = clock;
    this.subscribers = new Set();
    this.dirty = new Set();
    this.scheduled = false;
    this.connection = "connecting";
    this.reason = "";
    this.ready = false;
    this.clear();
  }

  clear() {
    for (const name of TABLES) this[name] = new Map();
    for (const name of Object.keys(LISTS)) this[name] = [];
    this.run = {};
    this.feed = { live: true, replay: null };
    this.gate = {};
    this.memory = {};
    this.metrics = {};
    this.paused = [];
    this.critical_path = [];
    this.tasks_total = null;
    this.step_s = null;
    this.seq = 0;
    this.at = null;
    this.toldNow = null;
    this.toldAt = 0;
  }

  snapshot(document) {
    this.clear();
    for (const name of TABLES) this[name] = new Map(Object.entries(document[name] ?? {}));
    for (const name of Object.keys(LISTS)) this[name] = [...(document[name] ?? [])];
    this.takeSeries(document.series ?? {});
    for (const name of VALUES) if (name in document) this[name] = document[name];
    this.metrics = { ...document.metrics };
    this.ready = true;
    this.mark(document, [...TABLES, ...Object.keys(LISTS), ...VALUES, "metrics"]);
  }

  delta(document) {
    const parts = [];
    for (const [name, rows] of Object.entries(document.set ?? {})) {
      if (!TABLES.includes(name)) continue;
      for (const [key, row] of Object.entries(rows)) this[name].set(key, row);
      parts.push(name);
    }
    for (const [name, keys] of Object.entries(document.del ?? {})) {
      if (!TABLES.includes(name)) continue;
      for (const key of keys) this[name].delete(key);
      parts.push(name);
    }
    for (const [name, entries] of Object.entries(document.append ?? {})) {
      if (!(name in LISTS)) continue;
      this.append(name, entries);
      parts.push(name);
    }
    parts.push(...this.replace(document.replace ?? {}));
    this.mark(document, parts);
  }

  replace(values) {
    const parts = [];
    for (const [name, value] of Object.entries(values)) {
      if (name === "metrics") Object.assign(this.metrics, value);
      else if (name === "run") this.run = { ...this.run, ...value };
      else if (name === "series") this.takeSeries(value);
      else if (VALUES.includes(name)) this[name] = value;
      else continue;
      parts.push(name === "series" ? "points" : name);
    }
    return parts;
  }

  takeSeries(series) {
    this.points = [...(series.points ?? [])];
    this.step_s = series.step_s ?? this.step_s;
  }

  append(name, entries) {
    const list = this[name];
    for (const entry of entries) {
      // The last point of a series grows until its step is over.
      if (name === "points" && list.length > 0 && list[list.length - 1].at === entry.at) list.pop();
      list.push(entry);
    }
    if (list.length > LISTS[name]) list.splice(0, list.length - LISTS[name]);
  }

  // In the time that is shown, which a replay stretches.
  now() {
    if (this.toldNow === null) return null;
    const replay = this.feed.replay;
    const speed = replay ? (replay.paused ? 0 : replay.speed) : 1;
    const now = this.toldNow + ((this.clock() - this.toldAt) / 1000) * speed;
    return replay ? Math.min(now, replay.ends) : now;
  }

  since(at) {
    const now = this.now();
    return at === null || at === undefined || now === null ? null : Math.max(0, now - at);
  }

  connected(state, reason = "") {
    if (this.connection === state && this.reason === reason) return;
    this.connection = state;
    this.reason = reason;
    this.mark({}, ["connection"]);
  }

  subscribe(parts, callback) {
    const subscriber = { parts: new Set(parts), callback };
    this.subscribers.add(subscriber);
    return () => this.subscribers.delete(subscriber);
  }

  mark(document, parts) {
    if (document.seq !== undefined) this.seq = document.seq;
    if (document.at !== undefined) this.at = document.at;
    if (document.now !== undefined) {
      this.toldNow = document.now;
      this.toldAt = this.clock();
    }
    for (const part of parts) this.dirty.add(part);
    if (this.dirty.size > 0 && !this.scheduled) {
      this.scheduled = true;
      this.frame(() => this.flush());
    }
  }

  flush() {
    this.scheduled = false;
    const dirty = this.dirty;
    this.dirty = new Set();
    for (const { parts, callback } of [...this.subscribers]) {
      if ([...dirty].some((part) => parts.has(part))) callback(dirty);
    }
  }
}
