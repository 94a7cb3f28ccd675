"""Lines that get tags on their way: bytes a second through kmetad and other filters, and what one line waits."""

from __future__ import annotations

import os
import random
import select
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from bench.contenders import kmetad_command
from bench.process import footprint
from kmetad.testing import Volume

CAT, SED, MAWK, JQ, KMETAD = "cat", "GNU sed", "mawk", "jq -c", "kmetad run"
STDERR = "its stderr"
"""The app's standard error through kmetad, whose own log goes there too."""
PATIENCE = 60.0
"""Seconds after which something is wrong."""
_AT_ONCE = 1 << 17
"""Bytes, as cat reads."""
_SETTLING = 0.3
"""Seconds for what has just started to be asleep again."""
_MEGABYTES = 100
_OF_JQ = 5
"""Megabytes: it would take the whole time for more."""
_TAGS = {"name": "web-5d9c7b6f4-abcde", "version": "1.2.3", "team": "t" * 134}
MEMBERS = '"pod":{' + ",".join(f'"{name}":"{value}"' for name, value in _TAGS.items()) + "}"
_JSON = '{"time":"2026-01-02T03:04:05Z","level":"info","msg":"request done","path":"/api/v1/items","status":200,"x":"'
_TEXT = "2026-01-02T03:04:05Z INFO request done path=/api/v1/items status=200 "


def _json(size: int) -> bytes:
    return _JSON.encode().ljust(size - 3, b"x") + b'"}\n'


LINES = {
    "JSON, 200 B": _json(200),
    "JSON, 1 KiB": _json(1024),
    "text, 200 B": _TEXT.encode().ljust(199, b"x") + b"\n",
    "mixed, 200 B": _json(200) + _TEXT.encode().ljust(199, b"x") + b"\n",
}
"""What is repeated."""
FILTERS = {
    CAT: ["cat"],
    SED: ["sed", 's/^{"/{' + MEMBERS + ',"/'],
    MAWK: [
        "mawk",
        '/^{"/ { print "{' + MEMBERS.replace('"', '\\"') + ',\\"" substr($0, 3); next } { print }',
    ],
    JQ: ["jq", "-cRr", ". as $line | try ({" + MEMBERS + "} + fromjson | tojson) catch $line"],
}
"""All splice in the same; jq reads what it gets."""


@dataclass(slots=True)
class Throughput:
    """One kind of line through one filter: megabytes (10**6) a second of what goes in, one a round."""

    lines: str
    filter: str
    speeds: list[float] = field(default_factory=list)
    fault: str | None = None

    def ratios(self, yardstick: Throughput) -> list[float]:
        """Against another filter in the same round, so that what drifts cancels."""
        return [ours / theirs for ours, theirs in zip(self.speeds, yardstick.speeds, strict=False)]


@dataclass(slots=True)
class Lines:
    """All that was measured."""

    throughputs: list[Throughput] = field(default_factory=list)
    waits: dict[str, list[float]] = field(default_factory=dict)
    """By filter, µs that single lines took through an idle stream, ``cat`` before it included."""
    memory: tuple[float, float] = (0.0, 0.0)
    """Private_Dirty of the supervisor before and after so many lines, in MB."""

    def of(self, lines: str, name: str) -> Throughput:
        """One of them."""
        return next(t for t in self.throughputs if (t.lines, t.filter) == (lines, name))


def measure(rounds: int, singles: int, directory: str) -> Lines:
    """Let all take turns, a round after the other; then single lines."""
    home = os.path.join(directory, "lines")
    os.mkdir(home)
    toml = _configuration(home)
    files = {
        name: {size: _file(home, name, line, size) for size in (_MEGABYTES, _OF_JQ)}
        for name, line in LINES.items()
    }
    found = Lines([Throughput(lines, name) for lines in LINES for name in (*FILTERS, KMETAD, STDERR)])
    for throughput in found.throughputs:
        if throughput.filter in FILTERS and shutil.which(FILTERS[throughput.filter][0]) is None:
            throughput.fault = f"not installed: apt-get install {FILTERS[throughput.filter][0]}"
    for number in range(rounds):
        order = [*found.throughputs]
        random.Random(number).shuffle(order)
        for throughput in sorted(order, key=lambda one: one.lines):
            if throughput.fault is None:
                path = files[throughput.lines][_OF_JQ if throughput.filter == JQ else _MEGABYTES]
                seconds = _once(throughput.filter, throughput.lines, path, toml)
                throughput.speeds.append(os.path.getsize(path) / seconds / 1e6)
    for name in (CAT, SED, KMETAD):
        found.waits[name] = _singles(name, singles, toml)
    found.memory = _memory(files["JSON, 200 B"][_MEGABYTES], toml)
    shutil.rmtree(home)
    return found


def _configuration(home: str) -> str:
    volume = Volume(os.path.join(home, "podinfo"))
    volume.write(labels=_TAGS)
    toml = os.path.join(home, "kmetad.toml")
    with open(toml, "w") as file:
        file.write(
            f'[log]\nlevel = "critical"\n[volumes.podinfo]\npath = "{volume.path}"\n[plugins.logtag.tags]\n'
        )
        file.writelines(f"{name} = \"metadata.labels['{name}']\"\n" for name in _TAGS)
    return toml


def _file(home: str, name: str, line: bytes, megabytes: int) -> str:
    path = os.path.join(home, f"{name.replace(' ', '-')}-{megabytes}")
    with open(path, "wb") as file:
        file.write(line * (megabytes * 10**6 // len(line)))
    return path


def _once(name: str, lines: str, path: str, toml: str) -> float:
    """Seconds from the moment when the app may begin until the last byte has arrived."""
    size = os.path.getsize(path)
    if name not in (CAT, JQ):
        line = LINES[lines]
        size += size // len(line) * line.count(b'{"') * (len(MEMBERS) + 1)
    with _waiting(name, f'exec cat "{path}"', toml) as (_, out, begin):
        begun = begin()
        came = 0
        buffer = bytearray(_AT_ONCE)
        while (came < size or name == JQ) and (more := os.readv(out, [buffer])):
            came += more
        taken = time.perf_counter() - begun
    if came != size and name != JQ:  # which writes its objects in its own way
        raise RuntimeError(f"of {size} bytes {came} came through {name}")
    return taken


def _memory(path: str, toml: str) -> tuple[float, float]:
    """Private_Dirty of kmetad's first process in MB, before and after a file's lines."""
    with _waiting(KMETAD, f'cat "{path}"; read _ || :', toml) as (first, out, begin):
        before = footprint(first.pid).private_dirty
        begin()
        left = os.path.getsize(path) // len(LINES["JSON, 200 B"])
        while left > 0:
            left -= os.read(out, 1 << 20).count(b"\n")
        return before, footprint(first.pid).private_dirty


@contextmanager
def _waiting(
    name: str, script: str, toml: str
) -> Iterator[tuple[subprocess.Popen[bytes], int, Callable[[], float]]]:
    """A script that waits until everything has started, and what has it begin, which answers when that was.

    Through kmetad it writes a line before, which has to come back with its tags.
    """
    gate = f"{toml}.gate"
    os.mkfifo(gate)
    probe = "echo '{\"probe\":1}'; " if name in (KMETAD, STDERR) else ""

    def begin() -> float:
        with open(gate, "w") as go:  # waits until it's there
            begun = time.perf_counter()
            go.write("go\n")
        return begun

    try:
        where = "exec >&2; " if name == STDERR else ""
        app = ["sh", "-c", f'{where}{probe}read _ < "{gate}"; {script}']
        with _stream(FILTERS.get(name), app, toml, stderr=name == STDERR) as (first, out):
            if probe:
                _expect(out, b'{%b,"probe":1}\n' % MEMBERS.encode())
            time.sleep(_SETTLING)
            yield first, out, begin
    finally:
        os.unlink(gate)


@contextmanager
def _stream(
    filter_: Sequence[str] | None, app: Sequence[str], toml: str, *, stderr: bool = False
) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """An app before its filter (None: in kmetad): the first process, with a pipe to it, and where all arrives."""
    environ = {**os.environ, "LC_ALL": "C"}
    command = app if filter_ else [*kmetad_command(), "run", "-c", toml, "--", *app]
    to = {"stderr" if stderr else "stdout": subprocess.PIPE}
    processes = [subprocess.Popen(command, stdin=subprocess.PIPE, env=environ, **to)]
    if filter_:
        out = processes[0].stdout
        processes.append(subprocess.Popen(filter_, stdin=out, stdout=subprocess.PIPE, env=environ))
        assert out is not None
        out.close()
    first, out = processes[0], processes[-1].stderr if stderr else processes[-1].stdout
    assert first.stdin is not None
    assert out is not None
    with out:
        yield first, out.fileno()
        first.stdin.close()
        for process in processes:
            process.wait(PATIENCE)


def _singles(name: str, count: int, toml: str) -> list[float]:
    """µs that each of so many lines took through a stream in which nothing else happens."""
    filter_ = ["sed", "-u", *FILTERS[SED][1:]] if name == SED else FILTERS.get(name)
    line = LINES["JSON, 200 B"]
    taken = []
    with _stream(filter_, ["cat"], toml) as (first, out):
        assert first.stdin is not None
        for number in range(count):
            time.sleep(0.002)  # so that all are asleep again
            begun = time.perf_counter()
            os.write(first.stdin.fileno(), line)
            _read_line(out)
            if number > count // 10:  # the first of them had to wait for the start
                taken.append((time.perf_counter() - begun) * 1e6)
    return taken


def _expect(descriptor: int, line: bytes) -> None:
    found = _read_line(descriptor)
    if found != line:
        raise RuntimeError(f"kmetad said {found!r}, expected {line!r}")


def _read_line(descriptor: int) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        if not select.select([descriptor], [], [], PATIENCE)[0]:
            raise RuntimeError(f"no line came within {PATIENCE:g} s")
        more = os.read(descriptor, 1 << 16)
        if not more:
            raise RuntimeError("the stream has ended")
        data += more
    return data
