// Making and keeping up elements. Whatever a value holds becomes a text node: nothing here parses markup.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes and children; a child is a node or a text, null is left out. */
export function el(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** The same for a drawing. */
export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value != null) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

// Control and format characters (that turn a line's direction, or take no place), private ones, and
// lone surrogates, which stand for bytes that are no UTF-8 (Python's surrogateescape).
const HIDDEN = /((?:(?![\n\t])[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}])+)/u;

/** A text as it is, with what can't be seen in it written out; cut to so many characters. */
export function shown(text, most = Infinity) {
  const made = el("span", { class: "text" });
  const cut = text.length > most ? text.slice(0, most) : text;
  for (const [number, part] of cut.split(HIDDEN).entries()) {
    if (number % 2) made.append(el("span", { class: "escape" }, escaped(part)));
    else if (part) made.append(part);
  }
  if (text === "") made.append(el("span", { class: "faint" }, "(empty)"));
  if (text.length > most) made.append(el("span", { class: "faint" }, "…"));
  return made;
}

/** The same for a long text: a part of it, and the whole for who opens it. */
export function foldable(text, most) {
  if (text.length <= most) return shown(text);
  const made = el("details", {}, el("summary", {}, shown(text, most), el("span", { class: "less" }, "Show less")));
  made.addEventListener("toggle", () => made.append(shown(text)), { once: true });
  return made;
}

/** As `shown`, for a key, which a line may break behind a slash. */
export function breakable(key) {
  const made = el("span", {}, ...key.split(/(?<=\/)/).flatMap((part) => [shown(part), el("wbr")]));
  return key ? made : shown(key);
}

function escaped(hidden) {
  return Array.from(hidden, (character) => {
    const code = character.codePointAt(0);
    if (code < 0x20 || code === 0x7f) return `\\x${code.toString(16).padStart(2, "0")}`;
    if (code >= 0xdc80 && code <= 0xdcff) return `\\x${(code - 0xdc00).toString(16)}`;
    return code > 0xffff ? `\\U${code.toString(16).padStart(8, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
  }).join("");
}

const kept = new WeakMap();

/**
 * Make a parent's children those of a list, in its order; each is {key, is, make}.
 *
 * A child of the same key stays the same node, and is made anew only where `is`, an array of what it
 * shows, differs: what is selected or has the focus stays so, and a screen reader isn't troubled.
 */
export function sync(parent, items) {
  const old = kept.get(parent) ?? new Map();
  const now = new Map();
  let at = parent.firstChild;
  for (const { key, is, make } of items) {
    let row = old.get(key);
    old.delete(key);
    if (row === undefined || is.some((part, number) => part !== row.is[number])) {
      const node = make();
      if (row !== undefined) {
        if (row.node === at) at = node;
        row.node.replaceWith(node);
      }
      row = { node, is };
    }
    now.set(key, row);
    if (row.node === at) at = at.nextSibling;
    else parent.insertBefore(row.node, at);
  }
  while (at !== null) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
  kept.set(parent, now);
}

/** So many seconds, in words: "4m 12s". */
export function span(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  if (whole < 60) return `${whole}s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${whole % 60}s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)}h ${Math.floor((whole % 3600) / 60)}m`;
  return `${Math.floor(whole / 86400)}d ${Math.floor((whole % 86400) / 3600)}h`;
}

/** How long something took: "240 ms", "1.2 s". */
export function took(seconds) {
  if (seconds < 0.001) return "< 1 ms";
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  return seconds < 60 ? `${seconds.toFixed(1)} s` : span(seconds);
}

/** A number and its noun: "1 change", "1,234 changes". */
export function many(number, noun) {
  return `${number.toLocaleString("en")} ${noun}${number === 1 ? "" : "s"}`;
}

const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });

/** A time of day here, with the date where that isn't today's. */
export function clock(time, now) {
  const day = DAY.format(time);
  return day === DAY.format(now) ? CLOCK.format(time) : `${day} ${CLOCK.format(time)}`;
}
