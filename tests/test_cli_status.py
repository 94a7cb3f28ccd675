"""``kmetad status``, with whatever may answer it; tests/test_introspection.py asks daemons."""

from __future__ import annotations

import json
import os
import re
import select
import socket
import subprocess
import sys
import threading
import typing
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from kmetad._cli import status as command
from kmetad._cli.status import form as status_form
from kmetad._cli.status import lines as status_text
from kmetad._daemon.places import NAME, places, reach
from kmetad.metadata import SourceState, SourceStatus
from kmetad.status import (
    AppStatus,
    ConfigStatus,
    Fault,
    LaneState,
    LaneStatus,
    StateStatus,
    Status,
    StreamStatus,
    plain,
)
from tests.cli import DEADLINE, environment, inside
from tests.test_packaging import ROOT
from tests.unprivileged import as_nobody

DOCUMENTATION = (ROOT / "docs" / "status.md").read_text()
STARTED = 1_800_000_000
"""Seconds since the epoch."""

STATUS = Status(
    ready=False,
    unready=("volume settings is lost: /etc/app isn't there",),
    version="0.1.0",
    pid=12,
    started_ns=STARTED * 10**9,
    generation=7,
    config=ConfigStatus("/etc/kmetad/kmetad.toml", refused=("kmetad.toml:3: a typo",)),
    sources={"podinfo": SourceState(), "settings": SourceState("lost", 2, "/etc/app isn't there")},
    lanes=(
        LaneStatus("nginx", "idle", generation=7, acknowledged=12),
        LaneStatus(
            "tagger",
            "retrying",
            generation=5,
            attempt=4,
            retry_seconds=12.3,
            acknowledged=2,
            faults=4,
            last_fault=Fault((STARTED + 60) * 10**9, "on_change", "RuntimeError: not yet"),
        ),
        LaneStatus("slow", "stuck", generation=6, attempt=1, hook="on_change", hook_seconds=45.6, stuck=1),
        LaneStatus("late", "parked", generation=6, attempt=5, faults=5),
        LaneStatus("crasher", "set-aside", crashes=3),
    ),
    app=AppStatus(15, 2, {"stdout": StreamStatus(10, 2000, 8), "stderr": StreamStatus(3, 60, 0, 20)}),
    state=StateStatus("/var/lib/kmetad", "No space left on device"),
)

TEXT = """\
not ready
  volume settings is lost: /etc/app isn't there

daemon  kmetad 0.1.0, process 12, up 1m40s, generation 7
config  /etc/kmetad/kmetad.toml
        newer version refused: kmetad.toml:3: a typo
state   /var/lib/kmetad: No space left on device
app     process 15, starts: 2
stdout  10 lines (2000 bytes), 8 tagged, 2 untouched
stderr  3 lines (60 bytes), 0 tagged, 3 untouched; 20 bytes lost

SOURCE    STATUS   FAULTS  ERROR
podinfo   healthy  0
settings  lost     2       /etc/app isn't there

PLUGIN   STATE      KNOWS  DONE  FAULTS  NOTE
nginx    idle       7      12    0
tagger   retrying   5      2     4       try 5 in 12s; 40s ago on_change: RuntimeError: not yet
slow     stuck      6      0     0       in on_change for 45s; stuck so far: 1
late     parked     6      0     5       gave up after try 5, until the next change
crasher  set-aside  -      0     0       the daemon died in it 3 times in a row
"""


def document(status: Status = STATUS, **other: Any) -> bytes:
    """An answer, with some values set otherwise."""
    return json.dumps(plain(status) | other).encode()


@contextmanager
def answering(directory: Path, answer: Callable[[socket.socket], object], backlog: int = 8) -> Iterator[None]:
    """Something listens there, and does that with the first who comes."""

    def serve() -> None:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        with connection:
            answer(connection)

    with socket.socket(socket.AF_UNIX) as server:
        reach(str(directory), server.bind)
        server.listen(backlog)
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join(DEADLINE)
            os.unlink(directory / NAME)


@pytest.fixture
def fallback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In place of /run/kmetad, where the machine's own daemon may be."""
    directory = tmp_path / "fallback"
    monkeypatch.setattr(command, "places", partial(places, fallback=str(directory)))
    return directory


@pytest.fixture
def ask(tmp_path: Path, fallback: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``kmetad status``, of a socket in tmp_path."""

    def run(*arguments: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        return inside("status", *arguments, env=env or {"XDG_RUNTIME_DIR": str(tmp_path)})

    return run


Ask = Callable[..., subprocess.CompletedProcess[str]]


class TestText:
    """For people."""

    def test_what_is_shown(self) -> None:
        """First why it isn't ready; then all there is, aligned."""
        shown = status_text.lines(json.loads(document()), STARTED + 100.0, colour=False)
        assert "\n".join(shown) + "\n" == TEXT

    def test_ready_and_nothing_else(self) -> None:
        """No plugin, no app, no file, no state."""
        little = Status(True, (), "0.1.0", 1, STARTED * 10**9, 1, ConfigStatus(None))
        assert status_text.lines(json.loads(document(little)), STARTED, colour=False) == [
            "ready",
            "",
            "daemon  kmetad 0.1.0, process 1, up 0s, generation 1",
            "config  none: found by convention",
        ]

    def test_nothing_forges_a_line_or_commands_a_terminal(self) -> None:
        """Every text of the answer, wherever it stands; colours are kmetad's own."""
        evil = "a\033[2J\nready\u202e\udcff"

        def poisoned(value: Any) -> Any:
            if isinstance(value, dict):
                return {evil if name in STATUS.sources else name: poisoned(v) for name, v in value.items()}
            if isinstance(value, list):
                return [poisoned(part) for part in value]
            is_time = isinstance(value, str) and status_form.moment(value)
            return evil if isinstance(value, str) and not is_time else value

        poison = poisoned(json.loads(document()))
        assert status_form.fits(poison, status_form.FORM)
        shown = status_text.lines(poison, STARTED + 100.0, colour=False)
        assert len(shown) == TEXT.count("\n") - 1  # of two sources of one name there is one
        assert all(line.isprintable() for line in shown)
        assert "\\x1b" in shown[1]
        coloured = status_text.lines(poison, STARTED + 100.0, colour=True)
        assert [re.sub("\033\\[[0-9]+m", "", line) for line in coloured] == shown

    def test_a_long_error_is_cut(self) -> None:
        """JSON has it whole."""
        lane = LaneStatus(
            "a", "retrying", attempt=1, last_fault=Fault(STARTED * 10**9, "on_start", "x" * 5000)
        )
        status = Status(True, (), "", 1, STARTED * 10**9, 1, ConfigStatus(None), lanes=(lane,))
        shown = status_text.lines(json.loads(document(status)), STARTED, colour=False)
        assert len(shown[-1]) < 400
        assert shown[-1].endswith("… (5000 characters)")

    @pytest.mark.parametrize(
        ("seconds", "shown"),
        [
            (-5.0, "0s"),
            (0.4, "0s"),
            (59.9, "59s"),
            (60.0, "1m"),
            (3599.0, "59m59s"),
            (3600.0, "1h"),
            (7384.0, "2h3m"),
            (86399.0, "23h59m"),
            (186400.0, "2d3h"),
        ],
    )
    def test_how_long(self, seconds: float, shown: str) -> None:
        """The two largest units."""
        assert status_text.span(seconds) == shown


class TestAnswers:
    """What is taken for one, and the exit code."""

    @pytest.mark.parametrize("ready", [True, False])
    def test_the_exit_code(self, ready: bool, ask: Ask, tmp_path: Path) -> None:
        """0 if it is ready, 1 if not; with both outputs."""
        for output in ("text", "json"):
            with answering(tmp_path, lambda connection: connection.sendall(document(ready=ready))):
                done = ask("-o", output)
            assert (done.returncode, done.stderr) == (0 if ready else 1, "")
            assert done.stdout.startswith(
                ("ready\n" if ready else "not ready\n") if output == "text" else "{"
            )

    def test_json_is_what_the_daemon_said(self, ask: Ask, tmp_path: Path) -> None:
        """Bytes that are no UTF-8 included, and what a later version says on top."""
        said = document(version="1.2\udcff", more={"a": [1.5]})
        with answering(tmp_path, lambda connection: connection.sendall(said)):
            done = ask("-o", "json")
        assert json.loads(done.stdout) == json.loads(said)
        assert "1.2\\udcff" in done.stdout

    def test_in_pieces(self, ask: Ask, tmp_path: Path) -> None:
        """A stream comes as it likes."""

        def pieces(connection: socket.socket) -> None:
            for byte in document():
                connection.sendall(bytes((byte,)))

        with answering(tmp_path, pieces):
            assert ask().returncode == 1

    @pytest.mark.parametrize(
        "said",
        [
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            b"null",
            b"[]",
            b"{}",
            b"\xff\xfe",
            b"[" * 100_000,
            document()[:-1],
            document(ready="yes"),
            document(pid=-1),
            document(pid=True),
            document(started="yesterday"),
            document(started=5),
            document(generation=1e400),
            document(unready="none"),
            document(sources=[]),
            document(sources={"a": {}}),
            document(lanes=[{}]),
            document(app={}),
            document(config=None),
            b'{"ready": true}',
            b"9" * 5000,
        ],
    )
    def test_what_isn_t_kmetad_s(self, said: bytes, ask: Ask, tmp_path: Path) -> None:
        """A foreign program, or an answer that was cut off: it is said, with 2 and no traceback."""
        for output in ("text", "json"):
            with answering(tmp_path, lambda connection: connection.sendall(said)):
                done = ask("-o", output)
            assert (done.returncode, done.stdout) == (2, "")
            assert done.stderr.startswith(f"kmetad: {tmp_path}/{NAME}: what answers there isn't this version")
            assert done.stderr.count("\n") == 1

    @pytest.mark.parametrize("field", fields(Status), ids=lambda field: field.name)
    def test_every_field_has_to_be_there(self, field: Any) -> None:
        """And to be of its kind."""
        name = field.name.removesuffix("_ns")
        right = json.loads(document())
        assert status_form.fits(right, status_form.FORM)
        assert not status_form.fits({key: v for key, v in right.items() if key != name}, status_form.FORM)
        assert not status_form.fits(right | {name: object()}, status_form.FORM)

    def test_the_form_is_the_status(self) -> None:
        """The command's form has the fields of kmetad.status, no more and no less."""
        assert names_of_type(Status) == names_of_form(status_form.FORM)

    def test_no_answer(self, ask: Ask, tmp_path: Path) -> None:
        """The connection ends: a daemon that is ending, or that failed to answer."""
        with answering(tmp_path, lambda connection: None):
            done = ask()
        assert done.returncode == 2
        assert f"{tmp_path}/{NAME}: no answer" in done.stderr

    def test_one_that_is_reset(self, ask: Ask, tmp_path: Path) -> None:
        """The daemon ends while somebody waits for his turn."""

        def end() -> None:
            select.select([server], [], [], DEADLINE)
            server.close()

        with socket.socket(socket.AF_UNIX) as server:
            reach(str(tmp_path), server.bind)
            server.listen()
            thread = threading.Thread(target=end)
            thread.start()
            done = ask()
            thread.join()
        assert done.returncode == 2
        assert "it ended while it was asked" in done.stderr

    @pytest.mark.parametrize("full", [False, True])
    def test_one_that_hangs(
        self, full: bool, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """There is a time limit, also where so many wait that nobody else may; it says which process hangs."""
        monkeypatch.setattr(command, "PATIENCE", 0.2)
        with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as first:
            reach(str(tmp_path), server.bind)
            server.listen(0)
            if full:
                reach(str(tmp_path), first.connect)
            done = ask()
        assert done.returncode == 2
        who = "" if full else f" (process {os.getpid()})"
        assert f"{tmp_path}/{NAME}: who listens there{who} has not answered within 0.2 s" in done.stderr

    def test_one_that_trickles(self, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The limit is for the whole answer, not for each of its bytes."""
        monkeypatch.setattr(command, "PATIENCE", 0.2)
        over = threading.Event()

        def trickle(connection: socket.socket) -> None:
            try:
                while not over.wait(0.02):
                    connection.sendall(b" ")
            except OSError:
                pass

        with answering(tmp_path, trickle):
            done = ask()
            over.set()
        assert done.returncode == 2
        assert "has not answered within" in done.stderr

    def test_one_that_never_ends(self, ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nor does an endless answer fill the memory."""
        monkeypatch.setattr(command, "LARGEST", 1 << 20)

        def flood(connection: socket.socket) -> None:
            try:
                while True:
                    connection.sendall(b" " * 65536)
            except OSError:
                pass

        with answering(tmp_path, flood):
            done = ask()
        assert done.returncode == 2
        assert "isn't this version of kmetad" in done.stderr


class TestPlaces:
    """Where it looks, and what it says where nothing is."""

    def test_nothing_anywhere(self, ask: Ask, fallback: Path, tmp_path: Path) -> None:
        """2, with every place, why there is nothing, and what to do."""
        (tmp_path / "own").mkdir()
        toml = tmp_path / "kmetad.toml"
        toml.write_text(f'[state]\ndir = "{tmp_path}/state"\n')
        done = ask("-c", str(toml), env={"XDG_RUNTIME_DIR": str(tmp_path / "own")})
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.splitlines() == [
            f"kmetad: no daemon answers; looked for {NAME} in",
            f"kmetad:   {tmp_path}/state ([state] dir): no such directory",
            f"kmetad:   {tmp_path}/own ($XDG_RUNTIME_DIR): none there",
            f"kmetad:   {fallback}: no such directory",
            f"kmetad:   {command.REMEDY}",
        ]

    def test_the_same_order_as_the_daemon(self, ask: Ask, fallback: Path, tmp_path: Path) -> None:
        """The first that answers; who was killed is passed over."""
        state, killed = tmp_path / "state", tmp_path / "killed"
        for directory in (state, killed, fallback):
            directory.mkdir()
        with socket.socket(socket.AF_UNIX) as dead:
            reach(str(killed), dead.bind)
        toml = tmp_path / "kmetad.toml"
        toml.write_text(f'[state]\ndir = "{state}"\n')
        env = {"RUNTIME_DIRECTORY": f"{killed}:{tmp_path}/none"}
        with answering(fallback, lambda connection: connection.sendall(document(version="last"))):
            assert "kmetad last" in ask("-c", str(toml), env=env).stdout
            with answering(state, lambda connection: connection.sendall(document(version="first"))):
                assert "kmetad first" in ask("-c", str(toml), env=env).stdout
        done = ask("-c", str(toml), env=env)
        assert f"{killed} ($RUNTIME_DIRECTORY): nobody listens any more" in done.stderr

    def test_a_configuration_that_is_broken_now(self, ask: Ask, tmp_path: Path) -> None:
        """A daemon with the one before runs on: it is asked where it may be, and otherwise that is said."""
        toml = tmp_path / "kmetad.toml"
        toml.write_text("[state")
        with answering(tmp_path, lambda connection: connection.sendall(document())):
            assert ask("-c", str(toml)).returncode == 1
        done = ask("-c", str(toml))
        assert f"[state] dir: unknown, for {toml} isn't TOML now" in done.stderr
        done = ask("-c", str(tmp_path / "none.toml"))
        assert f"[state] dir: unknown, for {tmp_path}/none.toml can't be read: No such file" in done.stderr

    @pytest.mark.parametrize("state", ['state = "x"', "[state]\ndir = 5", '[state]\ndir = "x"', ""])
    def test_a_state_dir_that_means_nothing(self, state: str, ask: Ask, tmp_path: Path) -> None:
        """As for the daemon, which has said so."""
        toml = tmp_path / "kmetad.toml"
        toml.write_text(state)
        assert "[state]" not in ask("-c", str(toml)).stderr.partition("if `kmetad run`")[0]

    def test_what_is_no_socket(self, ask: Ask, tmp_path: Path) -> None:
        """A symlink isn't followed: it may lead to anybody."""
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        (tmp_path / NAME).symlink_to(elsewhere / NAME)
        with answering(elsewhere, lambda connection: connection.sendall(document())):
            done = ask()
        assert done.returncode == 2
        assert "it is no socket, so it isn't kmetad's; remove it" in done.stderr

    @pytest.mark.parametrize("closed", ["socket", "directory"])
    def test_another_user_s(self, closed: str, fallback: Path, tmp_path: Path) -> None:
        """Permission denied in words: whose it is, and who asks."""
        if os.geteuid() != 0:
            pytest.skip("needs root, to be somebody else than the socket's owner")
        for path in (tmp_path, *tmp_path.parents):
            path.chmod(path.stat().st_mode | 0o055)
        directory = tmp_path / "run"
        directory.mkdir(mode=0o700 if closed == "directory" else 0o755)
        inside("status")  # imports all that it needs

        def look() -> tuple[int, str]:
            done = inside("status", env={"XDG_RUNTIME_DIR": str(directory)})
            return done.returncode, done.stderr

        with socket.socket(socket.AF_UNIX) as server:
            os.fchmod(server.fileno(), 0o600)
            reach(str(directory), server.bind)
            server.listen()
            code, said = as_nobody(look)
        assert code == 2
        assert "permission denied: it belongs to user 0, and you are 65534; run this as that user" in said
        assert "mount an emptyDir" not in said


class TestDocumentation:
    """docs/status.md says what is so."""

    def test_the_example_is_what_is_printed(self) -> None:
        """To the letter."""
        assert indented()[0] == TEXT

    def test_every_field_is_described(self) -> None:
        """Those of kmetad.status, in its order, and no others."""
        table = DOCUMENTATION.partition("## JSON")[2]
        assert re.findall("^\\| `([^`]+)` ", table, re.MULTILINE) == [*dotted(names_of_type(Status))]

    def test_every_state_is_described(self) -> None:
        """Of plugins, in the order of kmetad.status, and of sources."""
        table = DOCUMENTATION.partition("| state of a plugin |")[2].partition("\n\n")[0]
        assert re.findall("^\\| `([^`]+)` ", table, re.MULTILINE) == [*typing.get_args(LaneState)]
        (sources,) = re.findall("^.*`sources.NAME.status`.*$", DOCUMENTATION, re.MULTILINE)
        assert re.findall("`([a-z]+)`", sources) == [*typing.get_args(SourceStatus)]

    def test_the_probe(self) -> None:
        """It runs this command, and has more time than the kubelet gives by default."""
        probe = yaml.safe_load(indented()[1])["startupProbe"]
        assert probe["exec"]["command"] == ["kmetad", "status"]
        assert probe["timeoutSeconds"] >= command.PATIENCE


def indented() -> list[str]:
    """The blocks of the documentation that are code by their indentation, without it."""
    blocks = re.findall("(?:^    .*\n(?:\n(?=    ))?)+", DOCUMENTATION, re.MULTILINE)
    return [re.sub("^    ", "", block, flags=re.MULTILINE) for block in blocks]


def dotted(names: Mapping[str, Any], before: str = "") -> Iterator[str]:
    """Names of fields as the documentation writes them."""
    between = {"sources": ".NAME", "lanes": "[]", "output": ".STREAM"}
    for name, parts in names.items():
        if parts is None or name in ("last_fault", "last", "app", "state"):
            yield before + name
        if parts is not None:
            yield from dotted(parts, before + name + between.get(name, "") + ".")


def test_it_imports_only_what_it_needs(tmp_path: Path) -> None:
    """Probes run it again and again: no watcher, no logger, no plugin manager, nor what types are made of."""
    code = (
        "import sys, argparse; argparse.ArgumentParser().format_usage(); its = set(sys.modules); "  # 3.14 colours it
        "from kmetad._cli.main import main; main(sys.argv[1:]); heavy = ('watchdog', 'structlog', "
        "'pluggy', 'msgspec', 'asyncio', 'subprocess', 'dataclasses', 'inspect', 'kmetad.metadata'); "
        "print([m for m in heavy if m in sys.modules and m not in its])"
    )
    env = environment({"XDG_RUNTIME_DIR": str(tmp_path)})
    env = {name: value for name, value in env.items() if not name.startswith("COV")}
    with answering(tmp_path, lambda connection: connection.sendall(document())):
        done = subprocess.run(
            [sys.executable, "-c", code, "status"], env=env, capture_output=True, text=True, timeout=DEADLINE
        )
    assert done.stdout.startswith("not ready\n"), done.stderr
    assert done.stdout.splitlines()[-1] == "[]"


def names_of_type(type_: Any) -> Any:
    """The names that a type of kmetad.status has in JSON, by the dataclasses."""
    if is_dataclass(type_):
        hints = typing.get_type_hints(type_)
        return {f.name.removesuffix("_ns"): names_of_type(hints[f.name]) for f in fields(type_)}
    for part in typing.get_args(type_):
        if (found := names_of_type(part)) is not None:
            return found
    return None


def names_of_form(form: Any) -> Any:
    """The same, by the command's form."""
    if isinstance(form, dict):
        if status_form.ANY in form:
            return names_of_form(form[status_form.ANY])
        return {name: names_of_form(part) for name, part in form.items()}
    if isinstance(form, (list, tuple)):
        return names_of_form(form[-1])
    return None
