// What every panel has in common: it is given the app, builds itself once, and shows what changed.

export class Part extends HTMLElement {
  // The parts of the store that it shows.
  static parts = [];

  // { store, api, go(view, parameters), open(kind, id), can: {...} }: set before it is connected.
  app = null;

  connectedCallback() {
    if (!this.built) {
      this.built = true;
      this.build();
    }
    this.unsubscribe = this.app.store.subscribe(this.constructor.parts, (dirty) => this.show(dirty));
    this.ticking = this.constructor.everySecond ? setInterval(() => this.tick(), 1000) : null;
    this.show(new Set(this.constructor.parts));
  }

  disconnectedCallback() {
    this.unsubscribe?.();
    clearInterval(this.ticking);
  }

  get store() {
    return this.app.store;
  }

  build() {}

  show() {}

  tick() {
    if (!document.hidden) this.show(new Set());
  }
}

export function part(tag, app, setup = () => {}) {
  const element = document.createElement(tag);
  element.app = app;
  setup(element);
  return element;
}
