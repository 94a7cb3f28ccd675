// What happened: a bounded store of changes and outcomes, the same as a list, and as marks against time.

import { clock, el, foldable, many, shown, svg, took } from "./dom.js";

const KEPT = 2000; // events, as many as the server keeps
const SHOWN = 500; // rows of the list
const LONGEST = 2000; // characters that are kept of a value: the newest of it is among the Pod's, whole
const SHORT = 200; // characters of a value in the list
const BIN = 10; // px within which marks of a kind are one
const GUTTER = 132; // px for the rows' names, where there is room for them beside
const MAX_LANES = 24;

const SHAPES = {
  applied: "M-5,0a5,5 0 1,0 10,0a5,5 0 1,0 -10,0Z",
  failed: "M-4.5,-4.5L4.5,4.5M4.5,-4.5L-4.5,4.5",
  postponed: "M0,-5.5L5.5,4.5H-5.5Z",
  skipped: "M0,-5.5L5.5,0L0,5.5L-5.5,0Z",
};
const HEIGHT = { failed: -11, postponed: -11 }; // what isn't done yet stands above
const SIGNS = { added: "+", changed: "~", removed: "−" };
const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800,
  604800, 2592000];

/** A mark of an outcome, as in the drawing. */
export function glyph(result) {
  const shape = svg("path", { d: SHAPES[result] ?? SHAPES.skipped, class: `mark ${result}` });
  return svg("svg", { class: "glyph", viewBox: "-8 -8 16 16", width: 16, height: 16, "aria-hidden": "true" }, shape);
}

/** Part of a text, as a copy: what is cut off isn't kept in memory by it. */
export function cut(value) {
  if (typeof value !== "string" || value.length <= LONGEST) return value;
  return JSON.parse(JSON.stringify(`${value.slice(0, LONGEST)}…`));
}

function parsed(id, kind, data) {
  const dash = id.lastIndexOf("-");
  const made = { id, boot: id.slice(0, dash), number: Number(id.slice(dash + 1)), kind, data };
  made.began = Date.parse(data.time);
  made.time = made.began + (kind === "outcome" ? data.seconds * 1000 : 0);
  if (kind === "change") Object.assign(data, { old: cut(data.old), new: cut(data.new) });
  else Object.assign(data, { error: cut(data.error), detail: detailed(data.detail) });
  return made;
}

function detailed(detail) {
  const parts = Object.entries(detail ?? {}).map(([key, value]) => `${key}=${value}`);
  return cut(parts.join(" "));
}

/** A value of a change in words; null is none. */
function worded(type, value) {
  if (type !== "token" || value === null) return value === null ? null : String(value);
  const until = value.expires === null ? "no expiry" : `until ${clock(new Date(value.expires), new Date())}`;
  return value.audiences?.length ? `${until}, for ${value.audiences.join(", ")}` : until;
}

function brief(text, most = 60) {
  return text.length > most ? `${text.slice(0, most)}…` : text;
}

function told(change) {
  const [old, now] = [worded(change.type, change.old), worded(change.type, change.new)];
  const values = [old, now].filter((value) => value !== null).map((value) => brief(value || "(empty)"));
  return [change.op, change.type, brief(change.key), values.join(" → ")].filter(Boolean).join(" ");
}

export class Timeline {
  range = 0; // seconds back from now; 0: all
  lanes = new Map(); // the plugins' states by their names, in their order
  #events = [];
  #listed = 0; // how many came since the list was made
  #anew = true;
  #marks = [];
  #selected = null;
  #where;

  /** `where`: the elements plot, readout, list, note. */
  constructor(where) {
    this.#where = where;
    where.plot.addEventListener("pointermove", (event) => this.#point(event));
    where.plot.addEventListener("pointerleave", () => this.#select(null));
    where.plot.addEventListener("click", () => this.#go());
    where.plot.addEventListener("keydown", (event) => this.#key(event));
  }

  /** Take one event; false if it is known already. */
  add(id, kind, data) {
    const event = parsed(id, kind, data);
    const newest = this.#events.at(-1);
    if (newest?.boot === event.boot && event.number <= newest.number) return false;
    this.#events.push(event);
    this.#listed++;
    if (this.#events.length > KEPT * 1.25) this.#events.splice(0, this.#events.length - KEPT);
    return true;
  }

  /** Forget what this life of the daemon said, to be told it again. */
  forget(boot) {
    this.#events = this.#events.filter((event) => event.boot !== boot);
    this.#anew = true;
  }

  /** Bring the list up to date: new rows on top, the oldest go. */
  list(now) {
    const { list, note } = this.#where;
    const fresh = this.#anew ? SHOWN : Math.min(this.#listed, SHOWN);
    if (this.#anew) list.replaceChildren();
    const rows = this.#events.slice(fresh ? -fresh : this.#events.length).map((event) => row(event, now));
    list.prepend(...rows.reverse());
    while (list.childElementCount > SHOWN) list.lastElementChild.remove();
    this.#anew = false;
    this.#listed = 0;
    const some = list.childElementCount;
    note.textContent = some === SHOWN ? `The newest ${SHOWN}; kmetad events -o json has each as it comes.`
      : some ? "" : "Nothing has changed since the daemon started. Change something, and it appears here: "
        + "kubectl label pod NAME hello=world";
  }

  /** Draw the marks, anew: there are never more than there are places for. */
  draw(now) {
    const { plot } = this.#where;
    const width = plot.clientWidth;
    if (!width) return;
    const narrow = width < 560;
    const [left, right] = narrow ? [10, 14] : [GUTTER, 16];
    const end = now;
    const first = this.#events[0]?.began ?? now;
    const start = this.range ? now - this.range * 1000 : Math.min(first - (now - first) * 0.03, now - 60_000);
    const x = (time) => left + ((time - start) / (end - start)) * (width - left - right);
    const seen = this.#events.filter((event) => event.time >= start && event.time <= end + 5000);

    const rows = this.#rows();
    const high = narrow ? 52 : 42;
    const middle = (number) => number * high + high / 2 + (narrow ? 8 : 4);
    const bottom = (rows.size + 1) * high + 8;

    const back = svg("g");
    const lines = svg("g");
    const front = svg("g");
    for (const [name, number] of [["changes", 0], ...rows]) {
      const y = middle(number);
      const label = narrow ? { x: left, y: y - 18 } : { x: 4, y: y + 4 };
      back.append(
        svg("line", { class: "lane", x1: left, x2: width - right, y1: y + 0.5, y2: y + 0.5 }),
        svg("text", { class: number ? "name" : "name first", ...label }, brief(name, narrow ? 40 : 15)),
      );
    }
    for (const [at, label] of ticks(start, end, (width - left - right) / 80)) {
      back.append(
        svg("line", { class: "tick", x1: x(at), x2: x(at), y1: 6, y2: bottom }),
        svg("text", { class: "tick", x: x(at), y: bottom + 16 }, label),
      );
    }
    this.#marks = [...binned(seen, x, rows)].map((mark) => placed(mark, middle(mark.row)));
    for (const mark of this.#marks) {
      if (mark.kind === "change") {
        const tall = Math.min(26, 8 + 4 * Math.log2(mark.events.length));
        lines.append(svg("line", { class: "drop", x1: mark.x, x2: mark.x, y1: mark.y, y2: bottom }));
        front.append(svg("rect", { class: "change", x: mark.x - 2, y: mark.y - tall / 2, width: 4, height: tall, rx: 2 }));
      } else {
        const { began, data } = mark.events.at(-1);
        if (mark.x - x(began) > 8) {
          lines.append(svg("line", { class: "took", x1: x(began), x2: mark.x, y1: mark.y, y2: mark.y }));
        }
        const before = data.attempt > 1 && this.#before(mark);
        if (before) lines.append(svg("line", { class: "retry", x1: before.x, y1: before.y, x2: mark.x, y2: mark.y }));
        front.append(svg("path", { class: `mark ${mark.kind}`, d: SHAPES[mark.kind] ?? SHAPES.skipped,
          transform: `translate(${mark.x.toFixed(1)},${mark.y})` }));
      }
      if (mark.events.length > 1) {
        front.append(svg("text", { class: "count", x: mark.x + 7, y: mark.y - (mark.kind === "change" ? 9 : 5) },
          mark.events.length));
      }
    }
    const drawing = svg("svg", { width, height: bottom + 24, "aria-hidden": "true" }, back, lines, front);
    plot.replaceChildren(drawing);
    if (this.#selected) this.#select(this.#marks.find((mark) => mark.key === this.#selected.key) ?? null);
    else this.#tell(null);
  }

  /** The row of each plugin that did something, or that isn't idle; the daemon's own order. */
  #rows() {
    const acted = new Set(this.#events.map(({ data }) => data.instance).filter(Boolean));
    const names = [...this.lanes.keys()].filter((name) => acted.delete(name) || this.lanes.get(name) !== "idle");
    return new Map([...names, ...acted].slice(0, MAX_LANES).map((name, number) => [name, number + 1]));
  }

  /** The mark of the try before the first of a mark's, of the same plugin, if it is a mark of its own. */
  #before(mark) {
    const first = mark.events[0].number;
    let found = null;
    for (const other of this.#marks) {
      if (other === mark) break;
      if (other.row === mark.row && other.events.at(-1).number < first) found = other;
    }
    return found;
  }

  #select(mark) {
    this.#selected = mark;
    const { plot } = this.#where;
    plot.querySelector(".ring")?.remove();
    if (mark) plot.firstChild?.append(svg("circle", { class: "ring", cx: mark.x, cy: mark.y, r: 11 }));
    this.#tell(mark);
  }

  #tell(mark) {
    const { readout } = this.#where;
    const text = mark ? described(mark) : this.#marks.length
      ? "Point at a mark, or step through them with the arrow keys."
      : this.#events.length ? "Nothing happened in this time. Choose a longer one." : "Nothing has changed yet.";
    if (readout.textContent !== text) readout.textContent = text;
  }

  #point(event) {
    const box = this.#where.plot.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const far = (mark) => Math.hypot(mark.x - x, mark.y - y);
    const nearest = this.#marks.reduce((best, mark) => (!best || far(mark) < far(best) ? mark : best), null);
    this.#select(nearest && far(nearest) < 22 ? nearest : null);
  }

  #key(event) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (event.key === "Enter") this.#go();
    else if (event.key === "Escape") this.#select(null);
    else if (step && this.#marks.length) {
      const now = this.#marks.findIndex((mark) => mark.key === this.#selected?.key);
      const next = now < 0 ? this.#marks.length - 1 : now + step;
      this.#select(this.#marks[Math.max(0, Math.min(next, this.#marks.length - 1))]);
    } else return;
    event.preventDefault();
  }

  #go() {
    const id = this.#selected?.events.at(-1).id;
    const found = Array.from(this.#where.list.children).find((item) => item.dataset.id === id);
    found?.scrollIntoView({ block: "center" });
    found?.focus();
  }
}

/** The events by row, kind and place, in order of time: an array of them is one mark. */
function binned(events, x, rows) {
  const bins = new Map();
  for (const event of events) {
    const row = event.kind === "change" ? 0 : rows.get(event.data.instance);
    if (row === undefined) continue;
    const kind = event.kind === "change" ? "change" : event.data.result;
    const key = `${row} ${kind} ${Math.round(x(event.time) / BIN)}`;
    const bin = bins.get(key);
    if (bin) bin.events.push(event);
    else bins.set(key, { row, kind, x: x(event.time), events: [event] });
  }
  return bins.values();
}

function placed(mark, middle) {
  const newest = mark.events.at(-1);
  return { ...mark, key: `${mark.row} ${newest.id}`, y: middle + (HEIGHT[mark.kind] ?? 0) };
}

function* ticks(start, end, most) {
  const seconds = (end - start) / 1000;
  const step = (STEPS.find((one) => seconds / one <= most) ?? STEPS.at(-1)) * 1000;
  const zone = new Date(end).getTimezoneOffset() * 60_000;
  const form = new Intl.DateTimeFormat("en-GB", step >= 86_400_000 ? { day: "numeric", month: "short" }
    : { hour: "2-digit", minute: "2-digit", ...(step < 60_000 && { second: "2-digit" }) });
  for (let at = Math.ceil((start - zone) / step) * step + zone; at <= end; at += step) yield [at, form.format(at)];
}

function described({ kind, events }) {
  const { time, data } = events.at(-1);
  const when = clock(time, Date.now());
  if (kind === "change") {
    const some = events.slice(-3).map((event) => told(event.data)).join("; ");
    return `${when}  ${many(events.length, "change")}: ${some}${events.length > 3 ? "; …" : ""}`;
  }
  const more = events.length > 1 ? ` ${events.length} times, the last` : "";
  const why = data.error ? `: ${brief(data.error, 160)}` : "";
  return `${when}  ${data.instance} ${kind}${more} after ${took(data.seconds)}, try ${data.attempt}${why}`;
}

function row(event, now) {
  const { kind, data } = event;
  const time = el("time", { datetime: data.time, title: data.time }, clock(event.time, now));
  const parts = kind === "change" ? changed(data) : outcome(data);
  const sort = kind === "change" ? "change" : `outcome ${data.result}`;
  return el("li", { class: sort, "data-id": event.id, tabindex: "-1" }, time, ...parts);
}

function changed(change) {
  const [old, now] = [worded(change.type, change.old), worded(change.type, change.new)];
  const values = el("span", { class: "values" });
  if (old !== null) values.append(el("del", {}, foldable(old, SHORT)));
  if (old !== null && now !== null) values.append(el("span", { class: "arrow" }, " → "));
  if (now !== null) values.append(el("ins", {}, foldable(now, SHORT)));
  const where = change.type === "source" ? "" : `${change.source}, `;
  return [
    el("span", { class: `sign ${change.op}`, title: change.op }, SIGNS[change.op] ?? "~",
      el("span", { class: "unseen" }, ` ${change.op}`)),
    el("div", { class: "what" }, el("span", { class: "type" }, change.type), " ", el("b", { class: "key" }, shown(change.key, SHORT)),
      " ", values),
    el("span", { class: "aside" }, `${where}generation ${change.generation}`),
  ];
}

function outcome(data) {
  const what = el("div", { class: "what" }, el("b", { class: "key" }, shown(data.instance, SHORT)), " ",
    el("span", { class: `result ${data.result}` }, data.result));
  if (data.changes.length) {
    const rest = data.count - 1;
    what.append(" ", el("span", { class: "type" }, data.changes[0].type), " ", shown(data.changes[0].key, SHORT));
    if (rest > 0) what.append(` and ${rest} more`);
  } else if (!data.count) what.append(" at its start");
  if (data.detail) what.append(" ", el("span", { class: "detail" }, foldable(data.detail, SHORT)));
  if (data.error) what.append(el("span", { class: "error" }, foldable(data.error, SHORT)));
  const tries = data.attempt > 1 ? `try ${data.attempt}, ` : "";
  return [el("span", { class: "sign" }, glyph(data.result)), what,
    el("span", { class: "aside" }, `${tries}${took(data.seconds)}`)];
}
