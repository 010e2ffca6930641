// A list of any length that keeps only what is in sight in the document.
//
// Rows (or tiles, with `tileWidth`) are kept by key while they are in sight, so focus and text
// selection stay where they are when the list changes. Arrow keys, Home, End and the page keys
// move; only one row takes the Tab key.

import { h, setAttribute, setVariable } from "./dom.js";

const MARGIN_ROWS = 3;

export class VirtualList extends HTMLElement {
  constructor() {
    super();
    this.keys = [];
    this.rows = new Map();
    this.rowHeight = 40;
    this.tileWidth = null;
    this.current = null;
    this.make = () => h("div");
    this.update = () => {};
    this.follow = false;
    this.onpaint = null;
  }

  // make(): a row's element, with a focusable child or itself focusable; update(row, key, index).
  configure({ label, rowHeight, tileWidth = null, make, update, empty = "Nothing yet." }) {
    Object.assign(this, { rowHeight, tileWidth, make, update });
    this.label = label;
    this.emptyText = empty;
  }

  connectedCallback() {
    if (!this.body) this.build();
    this.resized = new ResizeObserver(() => this.paint());
    this.resized.observe(this);
    this.paint();
  }

  disconnectedCallback() {
    this.resized?.disconnect();
  }

  build() {
    this.body = h("div", { class: "virtual-body", role: "list", "aria-label": this.label });
    this.empty = h("p", { class: "virtual-empty" }, this.emptyText);
    this.append(this.body, this.empty);
    this.addEventListener("scroll", () => this.scrolled(), { passive: true });
    this.addEventListener("keydown", (event) => this.moved(event));
    this.addEventListener("focusin", (event) => {
      const row = event.target.closest("[data-key]");
      if (row) this.select(row.dataset.key);
    });
  }

  scrolled() {
    if (this.painting) return;
    this.painting = true;
    requestAnimationFrame(() => {
      this.painting = false;
      this.paint();
    });
  }

  setKeys(keys) {
    const end = this.follow && this.scrollTop + this.clientHeight >= this.scrollHeight - 4;
    this.keys = keys;
    this.paint();
    if (end) this.scrollTop = this.scrollHeight;
  }

  get columns() {
    if (!this.tileWidth) return 1;
    return Math.max(1, Math.floor(this.clientWidth / this.tileWidth));
  }

  paint() {
    if (!this.body || !this.isConnected) return;
    const columns = this.columns;
    const lines = Math.ceil(this.keys.length / columns);
    const height = lines * this.rowHeight;
    setVariable(this.body, "height", `${height}px`);
    setAttribute(this.empty, "hidden", this.keys.length > 0);
    // Who cannot reach a row by Tab must still be able to scroll.
    setAttribute(this, "tabindex", this.keys.length === 0 ? "-1" : null);
    const top = Math.max(0, Math.floor(this.scrollTop / this.rowHeight) - MARGIN_ROWS);
    const bottom = Math.min(lines, Math.ceil((this.scrollTop + this.clientHeight) / this.rowHeight) + MARGIN_ROWS);
    this.place(top * columns, Math.min(this.keys.length, bottom * columns), columns);
    this.onpaint?.();
  }

  place(first, last, columns) {
    const wanted = this.keys.slice(first, last);
    const focused = this.focusedKey();
    const inSight = new Set(wanted);
    for (const [key, row] of this.rows) {
      if (inSight.has(key) || key === focused) continue;
      row.remove();
      this.rows.delete(key);
    }
    if (this.current === null || !this.keys.includes(this.current)) this.current = wanted[0] ?? null;
    wanted.forEach((key, at) => this.show(key, first + at, columns));
    // A focused row that is out of sight keeps the focus; it only must not be in the way.
    if (focused !== null && !inSight.has(focused)) {
      const index = this.keys.indexOf(focused);
      if (index >= 0) this.show(focused, index, columns);
      else {
        this.rows.get(focused)?.remove();
        this.rows.delete(focused);
      }
    }
  }

  show(key, index, columns) {
    let row = this.rows.get(key);
    if (row === undefined) {
      row = this.make(key);
      row.dataset.key = key;
      row.setAttribute("role", "listitem");
      row.classList.add("virtual-row");
      this.rows.set(key, row);
      this.body.append(row);
    }
    setAttribute(row, "aria-setsize", this.keys.length);
    setAttribute(row, "aria-posinset", index + 1);
    const column = index % columns;
    setVariable(row, "--y", `${Math.floor(index / columns) * this.rowHeight}px`);
    setVariable(row, "--x", `${(column * 100) / columns}%`);
    setVariable(row, "--w", `${100 / columns}%`);
    setAttribute(focusable(row), "tabindex", key === this.current ? "0" : "-1");
    this.update(row, key, index);
  }

  focusedKey() {
    const row = this.body.contains(document.activeElement) ? document.activeElement.closest("[data-key]") : null;
    return row?.dataset.key ?? null;
  }

  select(key) {
    if (this.current === key) return;
    const before = this.rows.get(this.current);
    if (before) setAttribute(focusable(before), "tabindex", "-1");
    this.current = key;
    const row = this.rows.get(key);
    if (row) setAttribute(focusable(row), "tabindex", "0");
  }

  moved(event) {
    if (event.altKey || event.ctrlKey || event.metaKey || event.target.matches("input, select, textarea")) return;
    const columns = this.columns;
    const page = Math.max(1, Math.floor(this.clientHeight / this.rowHeight) - 1) * columns;
    const at = Math.max(0, this.keys.indexOf(this.current));
    const steps = {
      ArrowDown: columns, ArrowUp: -columns, PageDown: page, PageUp: -page,
      Home: -at, End: this.keys.length - 1 - at,
      ...(columns > 1 ? { ArrowRight: 1, ArrowLeft: -1 } : {}),
    };
    const step = steps[event.key];
    if (step === undefined || this.keys.length === 0) return;
    event.preventDefault();
    this.focusKey(this.keys[Math.min(this.keys.length - 1, Math.max(0, at + step))]);
  }

  focusKey(key) {
    const index = this.keys.indexOf(key);
    if (index < 0) return;
    const top = Math.floor(index / this.columns) * this.rowHeight;
    if (top < this.scrollTop) this.scrollTop = top;
    else if (top + this.rowHeight > this.scrollTop + this.clientHeight)
      this.scrollTop = top + this.rowHeight - this.clientHeight;
    this.select(key);
    this.paint();
    const row = this.rows.get(key);
    if (row) focusable(row).focus({ preventScroll: true });
  }
}

function focusable(row) {
  return row.matches("button, a, [tabindex]") ? row : (row.querySelector("[data-main]") ?? row);
}

customElements.define("stig-virtual-list", VirtualList);
