"""The figures as text, with the targets beside them."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from bench import bundle, proxy
from bench.calls import BARE, CALLS, MEMORY, Calls
from bench.contenders import KMETAD, OBSERVER
from bench.idle import Idle
from bench.install import Installed
from bench.latency import Figures, Scenario, yardstick
from bench.lines import CAT, JQ, LINES, MAWK, SED, STDERR, Lines
from bench.lines import KMETAD as TAGGER
from bench.proxy import Proxied
from bench.start import PASS, Start
from bench.start import yardstick as yardstick_of_starts

RATIO, RATIO_STRETCH = 1.8, 1.4
OF_LINES = (
    ("JSON, 200 B", SED, 1.1, None),
    ("mixed, 200 B", SED, 1.1, None),
    ("JSON, 200 B", CAT, 0.3, 0.4),
    ("JSON, 1 KiB", CAT, 0.3, 0.45),
    ("text, 200 B", CAT, 0.8, None),
)
"""The kind of line, compared with whom, the least ratio, the stretch."""
WAIT = 60.0
START, START_STRETCH = 1.5, 1.2


def latency_table(scenario: Scenario, figures: Sequence[Figures]) -> str:
    """One scenario, a line each contender."""
    bare = yardstick(figures)
    rows = [("", "swaps", "missed", "p50 µs", "p99 µs", "x bare", "quartiles")]
    for who in figures:
        if who.fault is not None:
            rows.append((who.name, who.fault, "", "", "", "", ""))
            continue
        ratios = sorted(who.ratios(bare))
        rows.append(
            (
                who.name,
                str(len(who.all)),
                str(who.missed),
                _number(who.p50, 0),
                _number(who.p99, 0),
                _number(statistics.median(ratios) if ratios else None, 2),
                _quartiles(ratios),
            )
        )
    title = f"{_count(scenario.volumes, 'volume')}, {_count(scenario.files, 'file')} each"
    return _table(f"Swap to handler: {title}", rows)


def start_table(starts: Sequence[Start], installed: Installed) -> str:
    """Each wrapper, a line."""
    bare = yardstick_of_starts(starts)
    rows = [("", "starts", "p50 ms", "x python", "quartiles")]
    for start in starts:
        if start.fault is not None:
            rows.append((start.name, start.fault, "", "", ""))
            continue
        ratios = start.ratios(bare)
        rows.append(
            (
                start.name,
                str(len(start.times)),
                _number(statistics.median(start.times) if start.times else None, 1),
                _number(statistics.median(ratios) if ratios else None, 2),
                _quartiles(ratios),
            )
        )
    where = "in an environment of its own"
    if installed.fault is not None:
        where = f"in the bench's own environment, since installing failed: {installed.fault}"
    return _table(f"Start to the app's main(), kmetad installed {where}", rows)


def idle_table(rows: Iterable[Idle], seconds: float) -> str:
    """Everything that slept, a line each."""
    table = [("", "volumes", "wake-ups", "Private_Dirty MB", "PSS MB", "threads", "inotify", "watches")]
    for row in rows:
        if row.footprint is None:
            table.append((row.name, str(row.volumes), row.fault or "", "", "", "", "", ""))
            continue
        held = row.footprint
        table.append(
            (
                row.name,
                str(row.volumes),
                str(row.wakeups),
                f"{held.private_dirty:.1f}",
                f"{held.pss:.1f}",
                str(held.threads),
                str(held.inotify),
                str(held.watches),
            )
        )
    return _table(f"Idle for {seconds:g} s", table)


def lines_table(lines: Lines) -> str:
    """What each filter passes on, a line each kind of line; and what a single one waits."""
    names = (CAT, SED, MAWK, JQ, TAGGER, STDERR)
    rows = [("MB/s in (x cat)", *names)]
    for kind in LINES:
        cat = lines.of(kind, CAT)
        cells = []
        for one in (lines.of(kind, name) for name in names):
            ratios = one.ratios(cat)
            cells.append(
                f"{statistics.median(one.speeds):,.0f} ({statistics.median(ratios):.2f})" if ratios else "—"
            )
        rows.append((kind, *cells))
    missing = sorted({one.fault for one in lines.throughputs if one.fault})
    waits = ", ".join(f"{name} {_number(_median(took), 0)}" for name, took in lines.waits.items())
    before, after = lines.memory
    return (
        _table("Lines through a filter, tags spliced in", rows)
        + "".join(f"{fault}\n" for fault in missing)
        + f"One line in an idle stream, behind cat, p50 µs: {waits} (sed with -u)\n"
        + f"The supervisor's Private_Dirty before and after 100 MB of lines: {before:.1f} and {after:.1f} MB\n"
    )


def calls_table(calls: Calls) -> str:
    """What calling the API server costs, a line each client."""
    if calls.fault is not None:
        return _table("Calling the API server", [("", ""), (calls.fault, "")])
    bare = calls.times[BARE]
    rows = [("", "calls", "p50 µs", "x urllib3")]
    for name, times in calls.times.items():
        ratio = statistics.median(one / other for one, other in zip(times, bare, strict=True))
        rows.append((name, str(len(times)), _number(statistics.median(times), 0), f"{ratio:.2f}"))
    memory = f"{calls.idle:.1f} and {calls.calling:.1f} MB"
    said = f"A daemon's Private_Dirty, its plugin calling nobody, and after {CALLS} calls: {memory}\n"
    return _table("GET of a Pod over TLS, on a connection that is kept", rows) + said


def bundle_table(bundled: bundle.Bundled) -> str:
    """The bundle beside the same in an environment; and how large it is."""
    return _table("Start of the bundle", bundle.rows(bundled)) + bundle.sizes(bundled)


def proxy_tables(proxied: Sequence[Proxied], kubectl: str) -> str:
    """Requests through each way, a line each number of connections; watch events; memory."""
    whose = f"; kubectl {kubectl}" if kubectl else ""
    tables = (
        _table(f"GET of a Pod through a proxy, TLS behind it{whose}", _requests(proxied)),
        _table(f"A watch event through a proxy, {proxy.WATCHES} watches open", _events(proxied)),
        _table("Memory of a proxy", _memory(proxied)),
    )
    return "\n".join(tables)


def _requests(proxied: Sequence[Proxied]) -> Iterable[Sequence[str]]:
    yield "", "connections", "requests/s", "x kubectl", "quartiles", "p50 µs", "over direct", "p99 µs"
    direct, kubectl = proxy.named(proxied, proxy.DIRECT), proxy.named(proxied, proxy.KUBECTL)
    failed: set[str] = set()
    for connections in proxy.CONNECTIONS:
        for one in proxied:
            if not one.loads.get(connections):
                if one.name not in failed:
                    yield one.name, one.fault or one.requests_fault or "—", *[""] * 6
                failed.add(one.name)
                continue
            ratios = one.ratios(connections, kubectl)
            yield (
                one.name,
                str(connections),
                _number(one.median(connections, lambda run: run.a_second), 0),
                _number(_median(ratios), 2),
                _quartiles(ratios),
                _number(one.median(connections, lambda run: run.p50), 0),
                _number(_median(one.added(connections, direct)), 0),
                _number(one.median(connections, lambda run: run.p99), 0),
            )


def _events(proxied: Sequence[Proxied]) -> Iterable[Sequence[str]]:
    yield "", "events", "p50 µs", "over direct", "p99 µs", "to all: events", "p50 µs", "p99 µs"
    direct = proxy.named(proxied, proxy.DIRECT)
    for one in proxied:
        if not one.singles:
            yield one.name, one.fault or "—", *[""] * 6
            continue
        singles, bursts = sum(one.singles, []), sum(one.bursts, [])
        yield (
            one.name,
            str(len(singles)),
            _number(statistics.median(singles), 0),
            _number(_median(one.waits(direct)), 0),
            _number(_p99(singles), 0),
            str(len(bursts)),
            _number(statistics.median(bursts), 0),
            _number(_p99(bursts), 0),
        )


def _memory(proxied: Sequence[Proxied]) -> Iterable[Sequence[str]]:
    yield "", "", "Private_Dirty MB", "PSS MB", "RSS MB", "threads"
    for one in proxied:
        for moment, held in one.memory.items():
            megabytes = (f"{value:.1f}" for value in (held.private_dirty, held.pss, held.rss))
            yield one.name, moment, *megabytes, str(held.threads)


def _of_proxies(proxied: Sequence[Proxied]) -> Iterable[tuple[str, str, str]]:
    direct, kubectl = proxy.named(proxied, proxy.DIRECT), proxy.named(proxied, proxy.KUBECTL)
    ours = proxy.named(proxied, proxy.KMETAD)
    added = _median(ours.added(proxy.ADDED_AT, direct))
    name = f"a request's p50 ≤ {proxy.ADDED:g} µs over direct, {proxy.ADDED_AT} connections; {ours.name}"
    yield _at_most(name, added, proxy.ADDED)
    for connections in proxy.CONNECTIONS:
        ratio = _median(ours.ratios(connections, kubectl))
        name = f"requests/s ≥ {proxy.RATIO} x kubectl proxy, {_count(connections, 'connection')}; {ours.name}"
        if ratio is None:
            yield name, "—", "not measured"
        else:
            yield name, f"{ratio:.2f}", _verdict(ratio >= proxy.RATIO)
    name = f"a watch event's p50 ≤ {proxy.EVENT:g} µs; {ours.name}"
    yield _at_most(name, _median(sum(ours.singles, [])), proxy.EVENT)
    for moment in (proxy.REST, proxy.WATCHING, proxy.LOADED):
        for what in ("private_dirty", "rss"):
            label = {"private_dirty": "Private_Dirty", "rss": "RSS"}[what]
            name = f"no more {label} than kubectl proxy, {moment}; {ours.name}"
            if moment not in ours.memory or moment not in kubectl.memory:
                yield name, "—", "not measured"
                continue
            held, theirs = (getattr(one.memory[moment], what) for one in (ours, kubectl))
            yield name, f"{held:.1f} against {theirs:.1f} MB", _verdict(held <= theirs)


def _at_most(name: str, microseconds: float | None, limit: float) -> tuple[str, str, str]:
    if microseconds is None:
        return name, "—", "not measured"
    return name, f"{microseconds:,.0f} µs", _verdict(microseconds <= limit)


def _p99(values: Sequence[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)]


def _of_lines(lines: Lines) -> Iterable[tuple[str, str, str]]:
    for kind, name, least, stretch in OF_LINES:
        ratio = _median(lines.of(kind, TAGGER).ratios(lines.of(kind, name)))
        if ratio is not None:
            what = f"{kind} lines ≥ {least} x {name}" + (f" (stretch {stretch})" if stretch else "")
            verdict = "stretch" if stretch and ratio >= stretch else _verdict(ratio >= least)
            yield f"{what}; {TAGGER}", f"{ratio:.2f}", verdict
    over = (_median(lines.waits[TAGGER]) or 0.0) - (_median(lines.waits[CAT]) or 0.0)
    yield f"one line ≤ {WAIT:g} µs over cat; {TAGGER}", f"{over:.0f} µs", _verdict(over <= WAIT)


def _of_calls(calls: Calls) -> tuple[str, str, str]:
    name = f"calls to the API server cost ≤ {MEMORY:g} MB beside the daemon"
    if calls.cost is None:
        return name, calls.fault or "—", "not measured"
    return name, f"{calls.cost:.1f} MB", _verdict(calls.cost <= MEMORY)


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def targets(
    latencies: Sequence[tuple[Scenario, Sequence[Figures]]],
    starts: Sequence[Start],
    idles: Sequence[Idle],
    lines: Lines | None,
    calls: Calls | None,
    proxied: Sequence[Proxied],
) -> str:
    """Each target of what was measured, with what that is and whether it holds."""
    rows = [("target", "measured", "")]
    for scenario, figures in latencies:
        where = f"{_count(scenario.volumes, 'volume')}, {_count(scenario.files, 'file')}"
        kmetad = next(f for f in figures if f.name == KMETAD)
        ratios = kmetad.ratios(yardstick(figures))
        name = f"p50 ≤ {RATIO} x bare (stretch {RATIO_STRETCH}); {where}"
        if not ratios:
            rows.append((name, kmetad.fault or "—", "not measured"))
            continue
        ratio = statistics.median(ratios)
        rows.append((name, f"{ratio:.2f}", _two_fold(ratio, RATIO, RATIO_STRETCH)))
        observer = next(f for f in figures if f.name == OBSERVER)
        if kmetad.p50 is not None and observer.p50 is not None:
            name = f"p50 below watchdog's Observer; {where}"
            measured = f"{kmetad.p50:.0f} against {observer.p50:.0f} µs"
            rows.append((name, measured, _verdict(kmetad.p50 < observer.p50)))
    for start in starts:
        if not start.target:
            continue
        name = f"app runs ≤ {START} x {PASS} (stretch {START_STRETCH}); {start.name}"
        ratios = start.ratios(yardstick_of_starts(starts))
        if start.fault is not None or not ratios:
            rows.append((name, start.fault or "—", "not measured"))
            continue
        ratio = statistics.median(ratios)
        rows.append((name, f"{ratio:.2f}", _two_fold(ratio, START, START_STRETCH)))
    for idle in idles:
        if not idle.name.startswith("kmetad"):
            continue
        if idle.footprint is None:
            rows.append((f"idle; {idle.name}, {_count(idle.volumes, 'volume')}", "—", "not measured"))
            continue
        where = f"{idle.name}, {_count(idle.volumes, 'volume')}"
        rows.append((f"no wake-ups; {where}", str(idle.wakeups), _verdict(idle.wakeups == 0)))
        held = idle.footprint
        wanted = (1,) if idle.volumes else (0, 1)  # with nothing to watch there needn't be one
        if idle.watches:
            verdict = _verdict(held.inotify in wanted)
            rows.append((f"one inotify descriptor; {where}", str(held.inotify), verdict))
        fewest = _threads_with_fewest_volumes(idle, idles)
        if fewest is not None:
            name = f"no more threads than with fewer volumes; {where}"
            rows.append((name, f"{held.threads} against {fewest}", _verdict(held.threads <= fewest)))
        if idle.megabytes is not None:
            held_mb = f"{held.private_dirty:.1f} MB"
            name = f"Private_Dirty ≤ {idle.megabytes:g} MB; {where}"
            rows.append((name, held_mb, _verdict(held.private_dirty <= idle.megabytes)))
    if lines is not None:
        rows += _of_lines(lines)
    if calls is not None:
        rows.append(_of_calls(calls))
    if proxied:
        rows += _of_proxies(proxied)
    return _table("Targets", rows)


def _threads_with_fewest_volumes(idle: Idle, idles: Sequence[Idle]) -> int | None:
    """How many threads the same contender has with fewer volumes; None if that wasn't measured."""
    others = [other for other in idles if other.name == idle.name and 0 < other.volumes < idle.volumes]
    fewest = min(others, key=lambda other: other.volumes, default=None)
    return fewest.footprint.threads if fewest is not None and fewest.footprint is not None else None


def _table(title: str, found: Iterable[Sequence[str]]) -> str:
    rows = list(found)
    # A row whose last cell is empty tells of a fault, at length; that mustn't widen a column.
    regular = [row for row in rows if row is rows[0] or row[-1]]
    widths = [max(len(row[n]) for row in regular) for n in range(len(rows[0]))]
    widths[0] = max(len(row[0]) for row in rows)
    lines = [title, "-" * len(title)]
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *cells]).rstrip())
    return "\n".join(lines) + "\n"


def _two_fold(ratio: float, target: float, stretch: float) -> str:
    return "stretch" if ratio <= stretch else _verdict(ratio <= target)


def _verdict(holds: bool) -> str:
    return "holds" if holds else "MISSED"


def _number(value: float | None, digits: int) -> str:
    return "—" if value is None else f"{value:,.{digits}f}"


def _quartiles(values: Sequence[float]) -> str:
    if len(values) < 2:
        return "—"
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{low:.2f} - {high:.2f}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
