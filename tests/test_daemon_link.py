"""The daemon of a wrapped app: what it says to its supervisor, and what it does when told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kmetad.testing.kubelet import Volume
from tests.daemons import Supervised

PODINFO = '[volumes.podinfo]\npath = "DIR/podinfo"\n'
ENV = "[run]\nstop_timeout = '7s'\nenv = { VERSION = \"v{metadata.labels['version']}\" }\n"

ASKING = """
import msgspec
from kmetad import hookimpl

class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    fail: int = 0
    restart: bool = False
    start: bool = True

class Plugin:
    def __init__(self, options, context):
        self.options, self.left, self.log, self.app = options, options.fail, context.log, context.app

    @hookimpl
    def kmetad_on_start(self, snapshot):
        if not self.options.start:
            raise RuntimeError("never")

    @hookimpl
    def kmetad_on_change(self, batch):
        self.batch = batch
        if self.options.restart:
            self.app.restart("because\\nof it")
        else:
            self.app.signal("SIGHUP")
        if self.left:
            self.left -= 1
            raise RuntimeError("not yet")
        self.log.info("told", pid=self.app.pid, starts=self.app.starts, wrapped=self.app.wrapped)

    @hookimpl
    def kmetad_on_app_start(self, pid, starts):
        self.log.info("app_start", pid=pid, starts=starts, known=self.app.pid)

    @hookimpl
    def kmetad_on_app_exit(self, code, signal, starts):
        self.log.info("app_exit", code=code, signal=signal, starts=starts, known=self.app.pid)

    @hookimpl
    def kmetad_app_env(self, snapshot):
        return {"FROM_PLUGIN": snapshot.labels["version"], "VERSION_OF": "asking"}

    @hookimpl
    def kmetad_on_stop(self):
        self.log.info("stop")
"""
ONE = PODINFO + '[plugins.asking]\npath = "DIR/asking.py"\nlane.retry = { initial = "1ms", max = "1ms" }\n'

Start = Callable[..., Supervised]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Start]:
    """Starts daemons of wrapped apps, and kills what is left of them."""
    started: list[Supervised] = []
    tmp_path.chmod(0o755)
    (tmp_path / "asking.py").write_text(ASKING)

    def start(toml: str, *arguments: str, **environ: str) -> Supervised:
        started.append(Supervised(tmp_path, toml, *arguments, **environ))
        return started[-1]

    yield start
    for one in started:
        one.close()


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    """A volume with one label, ``version``."""
    made = Volume(tmp_path / "podinfo")
    made.write(labels={"version": "1"})
    return made


def test_from_hello_to_ready(daemon: Start, volume: Volume) -> None:
    """What comes first, and that the variables are there before it is ready."""
    kmetad = daemon(ENV + PODINFO)
    assert kmetad.hear("hello") == ()
    (settings,) = kmetad.hear("run")
    assert (settings["stop_timeout"], settings["start"]) == (7.0, "after-sync")
    kmetad.hear("environment")
    assert kmetad.variables == {"VERSION": "v1"}
    kmetad.hear("ready")
    kmetad.say("stop", 5.0)
    assert kmetad.wait() == 0
    assert kmetad.rest() == []
