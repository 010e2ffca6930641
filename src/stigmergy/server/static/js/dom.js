// Elements made one way: by name, attributes and text. There is no way in for markup.

export const SVG = "http://www.w3.org/2000/svg";

export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function s(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (name.startsWith("on")) {
      throw new TypeError(`listeners are given in "on", not as the attribute ${name}`);
    } else {
      element.setAttribute(name, value === true ? "" : String(value));
    }
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

// Writes only what differs, so that an unchanged row costs no layout.
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function setAttribute(element, name, value) {
  if (value === null || value === undefined || value === false) {
    if (element.hasAttribute(name)) element.removeAttribute(name);
    return;
  }
  const text = value === true ? "" : String(value);
  if (element.getAttribute(name) !== text) element.setAttribute(name, text);
}

export function setVariable(element, name, value) {
  if (element.style.getPropertyValue(name) !== value) element.style.setProperty(name, value);
}

// One child per key, kept while its key is there; order as given.
export function keyed(parent, keys, { make, update }) {
  const rows = (parent.stigRows ??= new Map());
  const wanted = new Set(keys);
  for (const [key, row] of rows) {
    if (!wanted.has(key)) {
      row.remove();
      rows.delete(key);
    }
  }
  let before = parent.firstElementChild;
  for (const key of keys) {
    let row = rows.get(key);
    if (row === undefined) {
      row = make(key);
      rows.set(key, row);
    }
    update(row, key);
    if (row === before) before = row.nextElementSibling;
    else parent.insertBefore(row, before);
  }
}

export function icon(name) {
  const svg = s("svg", { class: "icon", viewBox: "0 0 16 16", "aria-hidden": "true", focusable: "false" });
  svg.append(...(ICONS[name] ?? []).map(([tag, attributes]) => s(tag, attributes)));
  return svg;
}

const line = { fill: "none", stroke: "currentColor", "stroke-width": "1.6", "stroke-linecap": "round", "stroke-linejoin": "round" };
const ICONS = {
  pause: [["path", { ...line, d: "M5.5 3.5v9M10.5 3.5v9" }]],
  play: [["path", { ...line, d: "M5 3.2v9.6l7.5-4.8z" }]],
  plus: [["path", { ...line, d: "M8 3v10M3 8h10" }]],
  minus: [["path", { ...line, d: "M3 8h10" }]],
  theme: [
    ["circle", { ...line, cx: 8, cy: 8, r: 5.5 }],
    ["path", { fill: "currentColor", d: "M8 2.5a5.5 5.5 0 0 1 0 11z" }],
  ],
  key: [
    ["circle", { ...line, cx: 5, cy: 8, r: 2.5 }],
    ["path", { ...line, d: "M7.5 8h6M11 8v2.5M13.5 8v2" }],
  ],
  close: [["path", { ...line, d: "M4 4l8 8M12 4l-8 8" }]],
  warn: [["path", { ...line, d: "M8 2.5 14 13H2zM8 6.5v3M8 11.3v.2" }]],
  mark: [
    ["path", { ...line, d: "M2 12.5c2.6-6.6 4.4-8.6 6-8.6s3.4 2 6 8.6" }],
    ["circle", { fill: "currentColor", cx: 8, cy: 9.4, r: 1.7 }],
    ["circle", { fill: "currentColor", cx: 4.6, cy: 12.4, r: 1.1 }],
    ["circle", { fill: "currentColor", cx: 11.4, cy: 12.4, r: 1.1 }],
  ],
  retry: [["path", { ...line, d: "M12.5 8a4.5 4.5 0 1 1-1.4-3.2M12.5 2.5v3h-3" }]],
};
