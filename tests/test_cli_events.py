"""``kmetad events``"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kmetad.testing.kubelet import ServiceAccountVolume, Volume, token
from tests.cli import DEADLINE, Running, environment, kmetad


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    """A volume with one label and one annotation."""
    written = Volume(tmp_path / "podinfo")
    written.write(labels={"app": "web"}, annotations={"note": "hello"})
    return written


def started(*args: str) -> Running:
    """``kmetad events``, once it watches."""
    running = Running("events", *args)
    running.err.until("kmetad: watching")
    return running


def test_changes_as_text(volume: Volume) -> None:
    """One line each, in columns, flushed at once; the first state isn't printed."""
    with started("--volume", volume.path) as events:
        volume.label("app", "db")
        assert events.out.line().split("  ", 1)[1] == "~ label       app  web → db"
        volume.update(labels={"tier": "gold"}, annotations={"note": None})
        assert [events.out.line().split("  ", 1)[1] for _ in range(2)] == [
            "- annotation  note  hello",
            "+ label       tier  gold",
        ]


def test_changes_as_json(volume: Volume) -> None:
    """Exactly the keys and values that INTERFACE promises."""
    with started("--volume", volume.path, "-o", "json") as events:
        volume.label("app", "bytes \udcff")
        line = events.out.line()
    assert "\\udcff" in line
    change = json.loads(line)
    assert list(change) == ["time", "swapped", "type", "op", "key", "old", "new", "source", "generation"]
    swapped, seen = change.pop("swapped"), change.pop("time")
    assert swapped <= seen
    assert change == {
        "type": "label",
        "op": "changed",
        "key": "app",
        "old": "web",
        "new": "bytes \udcff",
        "source": "podinfo",
        "generation": 2,
    }


def test_noise_is_not_printed(volume: Volume) -> None:
    """What ``watch.ignore`` names is left out, alone and beside others."""
    with started("--volume", volume.path, "-o", "json") as events:
        volume.annotate("kubernetes.io/config.seen", "2026-01-01T00:00:00Z")
        volume.update(labels={"app": "db"}, annotations={"kubernetes.io/config.seen": "2026-01-02T00:00:00Z"})
        first = json.loads(events.out.line())
        volume.annotate("kubernetes.io/config.seen", "2026-01-03T00:00:00Z")
        volume.label("app", "last")
        second = json.loads(events.out.line())
    assert [(change["key"], change["new"]) for change in (first, second)] == [("app", "db"), ("app", "last")]


def test_the_configuration_says_what_noise_is(volume: Volume, tmp_path: Path) -> None:
    """With no ``ignore`` everything is printed."""
    toml = tmp_path / "kmetad.toml"
    toml.write_text(f'[volumes.pod]\npath = "{volume.path}"\n[watch]\nignore = []\n')
    with started("-c", str(toml), "-o", "json") as events:
        volume.annotate("kubernetes.io/config.seen", "2026-01-01T00:00:00Z")
        change = json.loads(events.out.line())
    assert (change["key"], change["source"]) == ("kubernetes.io/config.seen", "pod")


def test_once_ends_after_a_batch(volume: Volume) -> None:
    """Noise doesn't count; all changes of the batch are printed."""
    with started("--volume", volume.path, "--once", "-o", "json") as events:
        volume.annotate("kubernetes.io/config.seen", "2026-01-01T00:00:00Z")
        volume.update(labels={"a": "1", "b": "2"})
        assert events.wait() == 0
        assert [json.loads(line)["key"] for line in events.out.rest()] == ["a", "b"]


def test_several_volumes_with_names(volume: Volume, tmp_path: Path) -> None:
    """NAME=DIR names one, the last part of its path another, made unique; each is announced."""
    settings, other = Volume(tmp_path / "etc"), Volume(tmp_path / "other" / "podinfo")
    settings.write(files={"app.conf": "a"})
    other.write(labels={"zone": "eu"})
    arguments = ["--volume", volume.path, "--volume", f"settings={settings.path}", "--volume", other.path]
    with Running("events", *arguments, "-o", "json") as events:
        assert [events.err.line() for _ in range(3)] == [
            f"kmetad: watching podinfo at {volume.path}",
            f"kmetad: watching settings at {settings.path}",
            f"kmetad: watching podinfo-2 at {other.path}",
        ]
        settings.file("app.conf", "b")
        change = json.loads(events.out.line())
        assert (change["type"], change["key"], change["source"]) == ("file", "settings/app.conf", "settings")
        assert (change["op"], change["old"], change["new"]) == ("changed", None, None)
        other.label("zone", "us")
        assert json.loads(events.out.line())["source"] == "podinfo-2"


def test_a_rotated_token_shows_no_secret(volume: Volume, tmp_path: Path) -> None:
    """Its end and audiences are told, the token isn't."""
    account = ServiceAccountVolume(tmp_path / "account")
    account.rotate(token(expires=1_900_000_000, audiences=["api"]))
    toml = tmp_path / "kmetad.toml"
    toml.write_text(f'[volumes.podinfo]\npath = "{volume.path}"\n[token]\npath = "{account.path}"\n')
    with started("-c", str(toml), "-o", "json") as events:
        secret = token(expires=1_900_003_600, audiences=["api"])
        account.rotate(secret)
        line = events.out.line()
    change = json.loads(line)
    assert change["type"] == "token"
    assert change["old"] == {"expires": "2030-03-17T17:46:40Z", "audiences": ["api"]}
    assert change["new"] == {"expires": "2030-03-17T18:46:40Z", "audiences": ["api"]}
    for part in secret.split("."):
        assert part not in line


def test_a_volume_that_comes_later(tmp_path: Path) -> None:
    """It is announced as what it is, and its content are changes."""
    with Running("events", "--volume", str(tmp_path / "late")) as events:
        assert events.err.line().startswith(f"kmetad: watching late at {tmp_path}/late: ")
        Volume(tmp_path / "late").write(labels={"app": "web"})
        assert "~ source      late  lost" in events.out.line()
        assert events.out.line().endswith("+ label       app   web")


def test_a_file_that_is_no_quoting(volume: Volume) -> None:
    """An event names file and line; the value before stays, and what else changed is told."""
    with started("--volume", volume.path, "-o", "json") as events:
        volume.write(annotations={"note": "hi"}, files={"labels": 'app="db\n'})
        changes = [json.loads(events.out.line()) for _ in range(2)]
        assert [(change["type"], change["key"], change["new"]) for change in changes] == [
            ("source", "podinfo", "healthy"),
            ("annotation", "note", "hi"),
        ]
    with Running("events", "--volume", volume.path) as events:
        assert "labels, line 1" in events.err.line()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_is_ended_by_a_signal(number: signal.Signals, volume: Volume) -> None:
    """That is how it ends: quietly and with 0."""
    with started("--volume", volume.path) as events:
        events.send(number)
        assert events.wait() == 0
        assert events.out.rest() == []
        assert events.err.rest() == []


def test_a_reader_that_has_gone(volume: Volume) -> None:
    """``kmetad events | head -1`` ends quietly at the next change."""
    process = subprocess.Popen(
        [sys.executable, "-m", "kmetad", "events", "--volume", volume.path],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stderr.readline().startswith(b"kmetad: watching")
    process.stdout.close()
    volume.label("app", "b")
    assert process.wait(DEADLINE) == 128 + signal.SIGPIPE
    assert process.stderr.read() == b""
    process.stderr.close()


def test_there_is_nothing_to_watch() -> None:
    """Outside of a Pod it says so instead of sleeping for ever."""
    done = kmetad("events")
    assert (done.stdout, done.returncode) == ("", 2)
    assert "--volume" in done.stderr


@pytest.mark.parametrize("arguments", [["--volume"], ["-o", "yaml"], ["somewhere"]])
def test_usage_errors(arguments: list[str]) -> None:
    """Exit code 2."""
    done = kmetad("events", *arguments)
    assert (done.stdout, done.returncode) == ("", 2)
    assert done.stderr.startswith("kmetad: ")
