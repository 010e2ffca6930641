// Words and numbers as people read them. Pure.
//
// Whatever names a task, an agent or a line of a log may come from a model or a peer: `clean`
// shows what would otherwise act (controls, direction marks), and `short` bounds it.

const UNSEEN =
  /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u061c\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u2069\ufeff\ud800-\udfff]/gu;

const number = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
});
const day = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

export const UNKNOWN = "unknown";

export function clean(value) {
  const text = value === null || value === undefined ? "" : String(value);
  return text.replace(UNSEEN, (mark) => `\\u${mark.codePointAt(0).toString(16).padStart(4, "0")}`);
}

export function short(value, most = 200) {
  const text = value === null || value === undefined ? "" : String(value);
  const line = text.length > most * 4 ? text.slice(0, most * 4) : text;
  const cleaned = clean(line.replace(/\s+/g, " ").trim());
  return cleaned.length > most ? `${cleaned.slice(0, most - 1)}…` : cleaned;
}

// The last part of `20261126-101500-3fa2/agent-7`, for where the run is known anyway.
export function agentName(id) {
  return short(String(id).split("/").pop() || id, 60);
}

export function known(value, write) {
  return value === null || value === undefined || Number.isNaN(value) ? UNKNOWN : write(value);
}

export const count = (value) => known(value, (n) => number.format(n));
export const big = (value) => known(value, (n) => (Math.abs(n) < 10_000 ? number.format(n) : compact.format(n)));
export const percent = (value) =>
  known(value, (n) => `${(n * 100).toFixed(n === 1 || n === 0 ? 0 : 1)} %`);
export const dollars = (value) => known(value, (n) => `$${n.toFixed(n > 0 && n < 10 ? 3 : 2)}`);
export const rate = (value) =>
  known(value, (n) => (n < 10 ? n.toFixed(1) : number.format(n)));
export const time = (at) => known(at, (s) => clock.format(s * 1000));
export const dayTime = (at) => known(at, (s) => day.format(s * 1000));

export function seconds(value) {
  return known(value, (s) => {
    if (s < 0) return "0 s";
    if (s < 10) return `${s.toFixed(1)} s`;
    if (s < 60) return `${Math.floor(s)} s`;
    if (s < 3600) return `${Math.floor(s / 60)} min ${String(Math.floor(s % 60)).padStart(2, "0")} s`;
    if (s < 172_800)
      return `${Math.floor(s / 3600)} h ${String(Math.floor((s % 3600) / 60)).padStart(2, "0")} min`;
    return `${Math.floor(s / 86_400)} d`;
  });
}

// Coarse, so that a list of many does not flicker: "now", "12 s", "4 min", "2 h".
export function ago(value) {
  return known(value, (s) => {
    if (s < 1) return "now";
    if (s < 60) return `${Math.floor(s)} s`;
    if (s < 3600) return `${Math.floor(s / 60)} min`;
    if (s < 172_800) return `${Math.floor(s / 3600)} h`;
    return `${Math.floor(s / 86_400)} d`;
  });
}

// As `ago`, in a sentence.
export function agoText(value) {
  const said = ago(value);
  return said === "now" ? "just now" : said === "unknown" ? "at an unknown time" : `${said} ago`;
}
