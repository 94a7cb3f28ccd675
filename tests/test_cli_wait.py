"""``kmetad wait``"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from kmetad._cli.wait import split
from kmetad.testing.kubelet import Volume
from tests.cli import Running, eventually, inside, kmetad


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    """A volume whose cpu limit is 500m."""
    written = Volume(tmp_path / "podinfo")
    written.write(labels={"app": "web"}, annotations={"a=b": "c=d"}, files={"cpu_limit": "500"})
    return written


@pytest.fixture
def toml(tmp_path: Path, volume: Volume) -> str:
    """A configuration that declares the limit."""
    file = tmp_path / "kmetad.toml"
    file.write_text(
        f'[volumes.podinfo]\npath = "{volume.path}"\n'
        'items.cpu_limit = { resource = "limits.cpu", container = "app", divisor = "1m" }\n'
    )
    return str(file)


@pytest.mark.parametrize(
    "condition",
    [
        "metadata.labels['app']",
        "metadata.labels['app']=web",
        'metadata.labels["app"]=web',
        "metadata.annotations['a=b']",
        "metadata.annotations['a=b']=c=d",
        "app.limits.cpu=500m",
        "app.limits.cpu=0.5",
        "limits.cpu=500000u",
    ],
)
def test_what_holds_already(condition: str, toml: str) -> None:
    """It ends at once, and says nothing."""
    done = inside("wait", condition, "-c", toml)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


@pytest.mark.parametrize(
    "condition",
    [
        "metadata.labels['app']=w",
        "metadata.labels['app']=",
        "metadata.labels['tier']",
        "metadata.labels['tier']=",
        "app.limits.cpu=5000m",
        "app.limits.cpu=half",
    ],
)
def test_what_does_not_hold_in_time(condition: str, toml: str) -> None:
    """Exit code 1, and what it is instead."""
    done = inside("wait", condition, "-c", toml, "--timeout", "1ms")
    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr.startswith(f"kmetad: timeout: {split(condition)[0]} is")


def test_it_waits_for_the_value(volume: Volume) -> None:
    """Other changes, and the value's own absence, don't end it; the value does."""
    with Running("wait", "metadata.labels['tier']=gold", "--volume", volume.path) as waiting:
        volume.label("app", "db")
        volume.label("tier", "silver")
        assert waiting.process.poll() is None
        volume.label("tier", "gold")
        assert waiting.wait() == 0


def test_it_waits_for_the_volume(tmp_path: Path) -> None:
    """A volume that comes later is as good."""
    with Running("wait", "metadata.labels['app']", "--volume", str(tmp_path / "late")) as waiting:
        Volume(tmp_path / "late").write(labels={"app": "web"})
        assert waiting.wait() == 0


def test_a_timeout_tells_of_a_volume_that_never_came(tmp_path: Path) -> None:
    """Whoever reads the message knows where to look."""
    done = kmetad("wait", "metadata.name", "--volume", str(tmp_path / "late"), "--timeout", "10ms")
    assert done.returncode == 1
    assert f"{tmp_path}/late" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["metadata.nam=x"],
        ["=x"],
        ["metadata.name", "--timeout", "5"],
        ["metadata.name", "--timeout", "-5s"],
        ["metadata.name", "--timeout", "soon"],
    ],
)
def test_usage_errors(arguments: list[str], tmp_path: Path) -> None:
    """Exit code 2, with a word of what is wrong."""
    done = inside("wait", *arguments, "--volume", str(tmp_path))
    assert (done.stdout, done.returncode) == ("", 2)
    assert done.stderr.startswith("kmetad: ")


def test_a_bare_number_is_asked_for_its_unit(tmp_path: Path) -> None:
    """``--timeout 5`` suggests what may be meant."""
    assert "5s" in inside("wait", "metadata.name", "--timeout", "5", "--volume", str(tmp_path)).stderr


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_wait_is_quiet(number: signal.Signals, code: int, volume: Volume) -> None:
    """It ends like a program that a signal ended, never as if the condition held, and without a traceback."""
    with Running("wait", "metadata.labels['never']", "--volume", volume.path) as waiting:
        _until_watching(waiting, volume)
        waiting.send(number)
        assert waiting.wait() == code
        assert waiting.err.rest() == []


def _until_watching(waiting: Running, volume: Volume) -> None:
    """Until the process waits for the kernel: it has the descriptor of inotify open."""

    def watching() -> bool:
        directory = f"/proc/{waiting.process.pid}/fd"
        links = []
        for name in os.listdir(directory):
            try:
                links.append(os.readlink(f"{directory}/{name}"))
            except FileNotFoundError:
                pass
        return any("inotify" in link for link in links)

    eventually(watching)


@pytest.mark.parametrize(
    ("condition", "path", "value"),
    [
        ("metadata.name", "metadata.name", None),
        ("metadata.name=", "metadata.name", ""),
        ("metadata.labels['a=b']", "metadata.labels['a=b']", None),
        ("metadata.labels['a=b']=c=d", "metadata.labels['a=b']", "c=d"),
        ("metadata.labels[\"a='b\"]='", 'metadata.labels["a=\'b"]', "'"),
    ],
)
def test_splitting(condition: str, path: str, value: str | None) -> None:
    """The first equals sign outside of quotes divides."""
    assert split(condition) == (path, value)
