// The page: one stream of events, a state that is bounded, and a drawing of it at most once a frame.

import { breakable, clock, el, foldable, many, shown, span, sync, took } from "./dom.js";
import { Stream } from "./stream.js";
import { Timeline, cut, glyph } from "./timeline.js";

const RECENT = 30_000; // ms for which an old value stays beside the new one, and a removed one is there
const FLASH = 1500; // ms
const REMEMBERED = 2000; // values whose last change is known
const ROWS = 200; // of labels or annotations; the others when somebody asks for them
const UNSEEN = 60_000; // ms out of sight, after which the page hangs up
const SHORT = 160; // characters of a value; the others when somebody asks for them
const RESULTS = ["applied", "failed", "postponed", "skipped"];

const $ = (id) => document.getElementById(id);

let status = null;
let metadata = null;
let boot = null;
let ahead = 0; // ms by which the daemon's clock is ahead of this one
let lost = null; // {since, reason} while there is no connection
let live = false;
let due = new Set(); // what is to be drawn: "status", "metadata", "list", "connection"
const changes = new Map(); // by TYPE and KEY: what changed last in it, and when
const flashing = new Map(); // of those, which have come just now: until when they flash
const open = new Set(); // the long values, and the long lists, that were opened

const now = () => Date.now() + ahead;
const timeline = new Timeline({ plot: $("plot"), readout: $("readout"), list: $("events"), note: $("events-note") });
const stream = new Stream("api/events?of=change,outcome,status,metadata", { event: heard, lost: disconnected });

// What comes in

async function heard(name, data, id) {
  if (name === "hello") {
    if (!stream.lastId) await load(data.boot);
    boot = data.boot;
    [live, lost] = [true, null];
    draw("connection");
  } else if (name === "reset") await load(boot);
  else if (name === "status") {
    status = { ...data, at: now() };
    draw("status");
  } else if (name === "metadata") {
    metadata = data;
    draw("metadata");
  } else if (name === "change" || name === "outcome") take(id, name, data, true);
}

function disconnected(reason) {
  if (reason !== null) lost = { since: lost?.since ?? now(), reason };
  live = false;
  draw("connection");
}

/** Read what the daemon has kept; it replaces what is known from this life of it. */
async function load(from) {
  const response = await fetch("api/timeline", { signal: stream.signal, cache: "no-store" });
  if (!response.ok) throw new Error(`the timeline can't be read: the server answers ${response.status}`);
  const difference = Date.parse(response.headers.get("date")) - Date.now();
  ahead = Math.abs(difference) > 2000 ? difference : 0; // the header has whole seconds; NaN is none
  const { events } = await response.json();
  timeline.forget(from);
  for (const { id, event, data } of events) take(id, event, data, false);
  stream.lastId = events.at(-1)?.id ?? null;
}

function take(id, kind, data, fresh) {
  if (!timeline.add(id, kind, data)) return;
  draw("list");
  if (kind !== "change") return;
  const key = `${data.type} ${data.key}`;
  remember(changes, key, { op: data.op, old: data.old, new: data.new, time: Date.parse(data.time) });
  if (fresh) remember(flashing, key, Date.now() + FLASH);
  draw("metadata");
}

/** Into a Map whose order is that of time, and whose size has an end. */
function remember(map, key, value) {
  map.delete(key);
  map.set(key, value);
  if (map.size > REMEMBERED) map.delete(map.keys().next().value);
}

// Drawing: when something has come, at most once a frame, and only while the page is seen

function draw(what) {
  if (!due.size && !document.hidden) requestAnimationFrame(frame);
  due.add(what);
}

function frame() {
  const what = due;
  due = new Set();
  if (what.has("connection")) drawConnection();
  if (what.has("status") && status) drawStatus();
  if (what.has("metadata") && metadata) drawMetadata();
  if (what.has("list")) timeline.list(now());
  if (what.has("list") || what.has("status")) timeline.draw(now());
  tick(document);
}

let ticking = null;
let leaving = null;

function seen() {
  clearInterval(ticking);
  clearTimeout(leaving);
  if (document.hidden) {
    leaving = setTimeout(() => stream.leave(), UNSEEN);
    return;
  }
  ticking = setInterval(second, 1000);
  for (const what of ["connection", "status", "metadata", "list"]) due.add(what);
  requestAnimationFrame(frame);
  second();
}

function second() {
  stream.check();
  if (lost) return tick($("banner")); // all else is as it was
  if (document.querySelector(".row.recent")) draw("metadata"); // until the old value has gone
  timeline.draw(now());
  return tick(document);
}

/** What passes by itself: "12s ago", "in 51m". */
function tick(inside) {
  for (const node of inside.querySelectorAll("[data-ago]")) {
    write(node, `${node.dataset.word} ${span((now() - node.dataset.ago) / 1000)}${node.dataset.after ?? " ago"}`.trim());
  }
  for (const node of inside.querySelectorAll("[data-until]")) {
    const left = (node.dataset.until - now()) / 1000;
    node.classList.toggle("soon", left < 300);
    write(node, left < 0 ? `stale for ${span(-left)}` : `${span(left)} left`);
  }
}

function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

function ago(word, time, after) {
  return el("span", { "data-ago": time, "data-word": word, "data-after": after });
}

function drawConnection() {
  const pill = $("connection");
  pill.className = `pill ${live ? "ok" : lost ? "bad" : ""}`;
  pill.textContent = live ? "Live" : lost ? "Connection lost" : "Connecting";
  document.documentElement.classList.toggle("lost", lost !== null);
  const banner = $("banner");
  if (lost) {
    if (banner.className !== "down") {
      banner.replaceChildren(
        el("strong", {}, `Connection lost at ${clock(lost.since, now())}`),
        el("span", { "aria-hidden": "true" }, ", ", ago("", lost.since)),
        ". Everything below is as it was then. The page tries again by itself; where a port-forward leads here, start that anew. ",
        el("span", { "aria-hidden": "true", id: "reason" }),
      );
    }
    $("reason").textContent = `(${lost.reason})`;
  } else if (banner.className === "down") banner.replaceChildren(el("span", { class: "unseen" }, "Connected again."));
  banner.className = lost ? "down" : "";
}

// The Pod

function drawMetadata() {
  const { name, namespace } = metadata.metadata ?? {};
  write($("pod"), name ?? "A Pod without a name");
  const where = [namespace, metadata.spec?.nodeName && `on ${metadata.spec.nodeName}`].filter(Boolean).join(" ");
  write($("where"), where || (name ? "" : "Project metadata.name into a volume, or set POD_NAME."));

  const { labels, annotations, ...fields } = metadata.metadata ?? {};
  const plain = (section, values) => Object.entries(values ?? {}).filter(([, value]) => value !== null).map(([key, value]) => [
    `${section}.${key}`, Array.isArray(value) ? value.map(({ ip }) => ip).join(",") : String(value)]);
  const resources = Object.entries(metadata.resources ?? {}).flatMap(([container, kinds]) =>
    Object.entries(kinds).flatMap(([kind, values]) =>
      Object.entries(values).map(([resource, value]) => [`${container}.${kind}.${resource}`, String(value)])));
  drawValues($("fields"), "field", [...plain("metadata", { name: null, namespace: null, ...fields }), ...plain("spec", metadata.spec),
    ...plain("status", metadata.status)], "Nothing of the Pod itself is known. Project fields such as metadata.name.");
  drawValues($("labels"), "label", Object.entries(labels ?? {}),
    "The Pod has no labels here. Project metadata.labels into a downwardAPI volume.");
  drawValues($("annotations"), "annotation", Object.entries(annotations ?? {}),
    "The Pod has no annotations here. Project metadata.annotations into a downwardAPI volume.");
  drawValues($("resources"), "resource", resources,
    "No requests or limits are known. Project limits.cpu by a resourceFieldRef.");
  drawTokens();
  for (const [key, until] of flashing) if (until < Date.now()) flashing.delete(key);
}

/** Values of a type, and those that have gone a moment ago. */
function drawValues(parent, type, values, empty) {
  const here = new Map(values);
  const before = `${type} `;
  for (const [name, change] of changes) {
    const key = name.slice(before.length);
    if (name.startsWith(before) && change.op === "removed" && recent(change) && !here.has(key)) here.set(key, null);
  }
  const sorted = [...here].sort(([one], [other]) => (type === "field" ? 0 : one < other ? -1 : 1));
  const all = open.has(type) ? sorted : sorted.slice(0, ROWS);
  const items = all.map(([key, known]) => {
    const last = changes.get(before + key);
    const value = last?.op === "changed" && known === last.old ? last.new : known; // it may come before the document
    const change = last && String(last.new) === String(cut(value)) ? last : undefined; // another one may have been missed
    const fresh = change !== undefined && recent(change);
    const flash = flashing.has(before + key);
    return {
      key,
      is: [value, change, fresh, open.has(before + key)],
      make: () => valueRow(before + key, key, value, change, fresh, flash),
    };
  });
  if (!items.length) items.push({ key: Symbol.for("empty"), is: [], make: () => el("div", { class: "note" }, empty) });
  if (sorted.length > all.length) {
    items.push({ key: Symbol.for("more"), is: [sorted.length], make: () =>
      el("div", {}, opener(type, "metadata", `Show all ${sorted.length.toLocaleString("en")}`)) });
  }
  sync(parent, items);
}

function recent(change) {
  return now() - change.time < RECENT;
}

function valueRow(id, key, value, change, fresh, flash) {
  const most = open.has(id) ? Infinity : SHORT;
  const cell = el("dd");
  const old = change?.op === "added" ? null : change?.old ?? null;
  if (fresh && old !== null && typeof old === "string") {
    cell.append(el("del", {}, shown(old, SHORT)));
    if (value !== null) cell.append(el("span", { class: "arrow" }, " → "));
  }
  if (value !== null) cell.append(el(fresh ? "ins" : "span", { class: "value" }, shown(value, most)));
  if (value?.length > SHORT) {
    cell.append(" ", opener(id, "metadata", open.has(id) ? "Show less" : `Show all ${value.length.toLocaleString("en")} characters`));
  }
  if (change) cell.append(" ", el("small", {}, ago(change.op, change.time)));
  const sort = ["row", fresh && "recent", flash && "flash", value === null && "removed"].filter(Boolean).join(" ");
  return el("div", { class: sort }, el("dt", {}, breakable(key.replace(/^\./, ""))), cell);
}

function opener(id, part, label) {
  const button = el("button", { type: "button", "aria-expanded": String(open.has(id)) }, label);
  button.addEventListener("click", () => {
    if (!open.delete(id)) open.add(id);
    draw(part);
  });
  return button;
}

function drawTokens() {
  const tokens = Object.entries(metadata.tokens ?? {});
  const items = tokens.map(([source, { expires, audiences }]) => {
    const change = changes.get(`token ${source}`);
    const fresh = change !== undefined && recent(change);
    const flash = flashing.has(`token ${source}`);
    return { key: source, is: [expires, audiences.join("\n"), change, fresh], make: () => el("div",
      { class: `row${fresh ? " recent" : ""}${flash ? " flash" : ""}` },
      el("dt", {}, shown(source)),
      el("dd", {},
        expires === null ? "no expiry is known" : el("span", { class: "value", "data-until": Date.parse(expires), title: expires }),
        audiences.length ? el("span", { class: "faint" }, " for ", shown(audiences.join(", "))) : null,
        change ? el("small", {}, " ", ago(change.op === "changed" ? "renewed" : change.op, change.time)) : null)) };
  });
  if (!items.length) items.push({ key: "", is: [], make: () => el("div", { class: "note" }, "No token is mounted here, or none that can be read.") });
  sync($("tokens"), items);
}

// kmetad itself

function drawStatus() {
  const { ready, unready, lanes, sources, app, config, counts, generation } = status;
  const pill = $("ready");
  pill.hidden = false;
  pill.className = `pill ${ready ? "ok" : "bad"}`;
  pill.textContent = ready ? "Ready" : "Not ready";
  document.title = `${metadata?.metadata?.name ?? "kmetad"} · ${ready ? "ready" : "not ready"}`;
  $("unready").hidden = ready;
  sync($("unready").querySelector("ul"), unready.map((text) => ({ key: text, is: [], make: () => el("li", {}, shown(text)) })));

  const sum = (values) => Object.values(values ?? {}).reduce((one, other) => one + other, 0);
  const behind = lanes.filter((lane) => (lane.generation ?? 0) < generation).length;
  facts($("summary"), [
    ["Generation", generation.toLocaleString("en")],
    ["Swaps", sum(counts?.swaps).toLocaleString("en")],
    ["Changes", sum(counts?.changes).toLocaleString("en")],
    ["Plugins", behind ? `${behind} of ${lanes.length} behind` : lanes.length ? `${lanes.length} up to date` : "none"],
    ["App", app === null ? "none wrapped" : app.pid ? (app.starts > 1 ? `restarted ${app.starts - 1}×` : "running") : "not running"],
    ["Up", ago("", Date.parse(status.started), ""), status.started],
  ]);

  timeline.lanes = new Map(lanes.map((lane) => [lane.name, lane.state]));
  cards($("lanes"), lanes.map((lane) => [lane.name, lane, () => laneCard(lane, generation)]),
    "No plugin is configured. Add a table such as [plugins.NAME] to kmetad.toml.");
  cards($("sources"), Object.entries(sources).map(([name, source]) => [name, source, () => sourceCard(name, source)]),
    "No volume has been found. Mount a downwardAPI volume, or name one in kmetad.toml: [volumes.NAME].");
  facts($("app"), app === null ? [["", "kmetad wraps no app here: it runs beside one, or on a node."]] : [
    ["process", app.pid ? String(app.pid) : "not running"],
    ["starts", `${app.starts}${app.starts > 1 ? ` (restarted ${app.starts - 1}×)` : ""}`],
    ...Object.entries(app.output).map(([name, { lines, bytes, tagged, lost: gone }]) => [name,
      `${many(lines, "line")} (${many(bytes, "byte")}), ${tagged.toLocaleString("en")} tagged${gone ? `; ${many(gone, "byte")} lost` : ""}`]),
  ]);
  facts($("daemon"), [
    ["kmetad", `${status.version}, process ${status.pid}`],
    ["configuration", config.file ?? "none: all is found by convention"],
    ...config.faults.map((fault) => ["fault", fault]),
    ...config.refused.map((fault) => ["newer refused", fault]),
    ...(status.state ? [["state", status.state.error ? `${status.state.dir}: ${status.state.error}` : status.state.dir]] : []),
  ]);
}

function facts(parent, rows) {
  sync(parent, rows.map(([term, value, extra], number) => ({ key: number, is: [term, typeof value === "string" ? value : extra],
    make: () => el("div", { class: "row" }, el("dt", {}, term), el("dd", {}, typeof value === "string" ? shown(value) : value)) })));
}

function cards(parent, rows, empty) {
  const items = rows.map(([key, value, make]) => ({ key, is: [JSON.stringify(value), status.generation], make }));
  if (!items.length) items.push({ key: Symbol.for("empty"), is: [], make: () => el("li", { class: "note" }, empty) });
  sync(parent, items);
}

const CALM = ["idle", "settling", "delivering", "healthy"];
const WAITING = ["starting", "retrying", "polling", "stopped"];

function tone(state) {
  return CALM.includes(state) ? "ok" : WAITING.includes(state) ? "warn" : "bad";
}

function laneCard(lane, newest) {
  const lag = newest - (lane.generation ?? 0);
  const doing = [
    lane.hook && `${lane.hook} runs`,
    lane.attempt > 1 && `try ${lane.attempt}`,
    lane.state === "retrying" && `again in ${span(lane.retry_seconds)}`,
    lane.state === "parked" && "gave up, until the next change",
    lane.stuck && `stuck so far: ${lane.stuck}`,
    lane.crashes && `times that the daemon died in it: ${lane.crashes}`,
  ].filter(Boolean);
  const counts = el("ul", { class: "counts" });
  for (const result of RESULTS) {
    const number = lane.results?.[result] ?? 0;
    if (number || result === "applied") counts.append(el("li", {}, glyph(result), `${number.toLocaleString("en")} ${result}`));
  }
  if (lane.last) {
    counts.append(el("li", { class: "faint" }, ago(`last ${lane.last.result}`, Date.parse(lane.last.time)), ` in ${took(lane.last.seconds)}`));
  }
  const fault = lane.last_fault && el("div", { class: "error" },
    el("span", { class: "faint" }, ago(`${lane.last_fault.hook} failed`, Date.parse(lane.last_fault.time)), ": "),
    foldable(lane.last_fault.error, 400));
  const knows = lag > 0 ? `${many(lag, "generation")} behind${lane.behind_seconds ? ` for ${span(lane.behind_seconds)}` : ""}` : "up to date";
  return card(lane.name, lane.state, knows, doing.length ? el("p", {}, doing.join(", ")) : null, counts, fault);
}

function sourceCard(name, { status: state, faults, error }) {
  return card(name, state, faults ? `${many(faults, "fault")} so far` : "",
    error ? el("p", { class: "error" }, shown(error)) : null,
    state === "polling" ? el("p", { class: "faint" }, "The kernel gives no notifications for it: it is compared once a second.") : null);
}

function card(name, state, note, ...more) {
  return el("li", {}, el("div", { class: "title" }, el("h3", {}, shown(name)), el("span", { class: "faint" }, note),
    el("span", { class: `pill ${tone(state)}` }, state)), ...more);
}

// The controls, and the start

$("range").addEventListener("change", (event) => {
  timeline.range = Number(event.target.value);
  timeline.draw(now());
});
$("filter").addEventListener("change", (event) => ($("events").dataset.only = event.target.value));
for (const result of RESULTS) $("legend").append(el("li", {}, glyph(result), result));
$("legend").prepend(el("li", {}, el("span", { class: "bar", "aria-hidden": "true" }), "change"));
new ResizeObserver(() => timeline.draw(now())).observe($("plot"));
document.addEventListener("visibilitychange", seen);
seen();
stream.run();
