"""kmetad._daemon.advice: what will never work."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

import kmetad
from kmetad import LogTags, hookimpl
from kmetad._config import parse
from kmetad._daemon import advice
from kmetad.metadata import Resource, Snapshot
from kmetad.quantity import Quantity
from kmetad.testing import Host
from tests.daemons import Daemon

ROOT = "24 1 0:22 /{root} {point} ro,relatime - tmpfs tmpfs rw\n"


def test_subpath_of_a_file(tmp_path: Path) -> None:
    """A file that is mounted alone comes from one generation, and stays that."""
    line = ROOT.format(root="..2026_11_23_04_31_50.357442254/labels", point=tmp_path / "labels")
    (text,) = advice.of_volumes({"podinfo": str(tmp_path)}, line)
    assert f"{tmp_path}/labels is a subPath mount" in text
    assert advice.of_volumes({"podinfo": str(tmp_path / "labels")}, line)


def test_whole_volume_is_fine(tmp_path: Path) -> None:
    """A volume that is mounted as a directory gets no advice."""
    assert not advice.of_volumes({"podinfo": str(tmp_path)}, ROOT.format(root="", point=tmp_path))
    assert not advice.of_volumes({"podinfo": str(tmp_path)}, "")
    assert not advice.of_volumes(
        {"podinfo": str(tmp_path)}, ROOT.format(root="..2026_11", point="/elsewhere")
    )


REAL = """
import ctypes, os, sys
from kmetad._daemon import advice
from kmetad.testing.kubelet import Volume
libc = ctypes.CDLL(None, use_errno=True)
def check(code):
    if code: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
try:
    check(libc.unshare(0x20000)); check(libc.mount(b"none", b"/", None, 0x4000 | 0x40000, None))
except OSError as error:
    print("not permitted", error); sys.exit(0)
there, here = sys.argv[1] + "/volume", sys.argv[1] + "/app dir"
os.mkdir(here); open(here + "/labels", "w").close()
volume = Volume(there); volume.write(labels={"a": "1"})
check(libc.mount(os.path.realpath(there + "/labels").encode(), (here + "/labels").encode(), None, 0x1000, None))
print(len(advice.of_volumes({"podinfo": here})))
"""


def test_real_bind_mount(tmp_path: Path) -> None:
    """A real bind mount, as the kubelet makes for a subPath, is recognised; a blank in the path is no matter."""
    command = [sys.executable, "-c", REAL, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if "not permitted" in done.stdout:
        pytest.skip(f"no mount namespace here: {done.stdout}")
    assert done.stdout.strip() == "1", done.stderr


def test_label_only_in_the_environment() -> None:
    """A label that a volume carries too is fine."""
    declared = ["metadata.labels['zone']", "metadata.annotations['a']", "metadata.name"]
    assert len(advice.of_environment(declared, Snapshot())) == 2
    assert not advice.of_environment(declared[:1], Snapshot(labels={"zone": "a"}))


def test_bare_numbers() -> None:
    """A resource whose divisor nobody declared is said to be a number, with what to write."""
    declared = Resource(250, Quantity("1m"))
    snapshot = Snapshot(
        resources={".limits.cpu": Resource(2), "web.limits.cpu": Resource(3), "a.limits.memory": declared},
        origins={"resource": "podinfo"},
    )
    first, second = advice.of_resources(snapshot)
    assert first.startswith("podinfo: limits.cpu is the bare number 2, ")
    assert first.endswith('{ resource = "limits.cpu", divisor = "1" }')
    assert second.startswith("podinfo: limits.cpu of web is the bare number 3, ")


def test_match_that_matches_nothing() -> None:
    """It lists what is there, but not all of ten thousand."""
    snapshot = Snapshot(labels={f"k{n:02}": "" for n in range(12)})
    assert not advice.of_match("x", ["label:k0*", "*:k11"], snapshot)
    (text,) = advice.of_match("x", ["label:z"], snapshot)
    assert "label:k00, label:k01" in text
    assert text.endswith("and 2 more")


def test_mountinfo_is_there() -> None:
    """On Linux the real one is read."""
    assert (os.path.exists("/proc/self/mountinfo")) == bool(advice._read_mountinfo())


class Silent:
    """A plugin that advises nothing."""

    @kmetad.hookimpl
    def kmetad_on_start(self, snapshot: Snapshot) -> None:
        """Nothing."""


class Advising(Silent):
    """One that does."""

    def advice(self, snapshot: Snapshot) -> Iterable[str]:
        """As many sentences as there are labels."""
        return [f"{key} is of no use" for key in snapshot.labels]


class Ends(Silent):
    """One that wants to end the process."""

    def advice(self, snapshot: Snapshot) -> Iterable[str]:
        """Not even a list."""
        sys.exit("enough")


class Endless(Silent):
    """One that never comes to an end."""

    def advice(self, snapshot: Snapshot) -> Iterable[str]:
        """More and more."""
        return map(str, itertools.count())


class Mistaken(Silent):
    """What isn't a method."""

    advice = "don't"


def test_advice_of_a_plugin() -> None:
    """In its own words; one that advises nothing, or wrongly, is no fault of anybody else's."""
    snapshot = Snapshot(labels={"app": "a"})
    assert advice.of_plugin(Host(Silent).instance, snapshot) == []
    assert advice.of_plugin(Host(Advising).instance, snapshot) == ["plugins.test: app is of no use"]
    assert advice.of_plugin(Host(Ends).instance, snapshot) == [
        "plugins.test: its advice raised SystemExit: enough"
    ]
    assert len(advice.of_plugin(Host(Endless).instance, snapshot)) == 100
    assert "its advice raised TypeError" in advice.of_plugin(Host(Mistaken).instance, snapshot)[0]


def test_the_daemon_logs_it_at_its_start(tmp_path: Path) -> None:
    """And goes on."""
    source = """
from kmetad import hookimpl
class Plugin:
    @hookimpl
    def kmetad_on_start(self, snapshot): pass
    def advice(self, snapshot): return ["there is no command nginx"]
"""
    (tmp_path / "advising.py").write_text(source)
    tmp_path.chmod(0o755)
    toml = '[log]\nformat = "json"\n[plugins.one]\npath = "DIR/advising.py"\n'
    toml += "[plugins.logtag]\npreset = 'otel'\n"
    daemon = Daemon(tmp_path, toml)
    try:
        no_app = (
            "plugins.logtag has tags for the app's log lines (kmetad_log_tags), but kmetad wraps no app here"
        )
        assert daemon.line("config.advice")["advice"].startswith(no_app)
        daemon.line("config.advice", advice="plugins.one: there is no command nginx", level="warning")
        assert daemon.end() == 0
    finally:
        daemon.close()


class ForAnApp:
    """A plugin that fills the app's environment, and tags its lines."""

    @hookimpl
    def kmetad_app_env(self, snapshot: Snapshot) -> dict[str, str]:
        """Nothing."""
        return {}

    @hookimpl
    def kmetad_log_tags(self, snapshot: Snapshot) -> LogTags:
        """Nothing."""
        return LogTags({})


def test_plugins_and_keys_that_need_an_app() -> None:
    """Where none is wrapped, each is said to do nothing."""
    config = parse("[run]\nstart = 'after-sync'\n", "kmetad.toml").config
    told = advice.of_no_app(config, [Host(ForAnApp).instance, Host(Silent).instance])
    assert [sentence.partition(", ")[0] for sentence in told] == [
        "plugins.test has variables for the app (kmetad_app_env)",
        "plugins.test has tags for the app's log lines (kmetad_log_tags)",
        "run.start can't do anything",
    ]
    assert all("`kmetad run -- CMD`" in sentence for sentence in told)
    assert advice.of_no_app(parse("", "kmetad.toml").config, [Host(Silent).instance]) == []
