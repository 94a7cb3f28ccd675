"""The sources that a configuration makes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from kmetad._config import Config, build_sources, parse, volume_option
from kmetad._sources.content import NOTHING
from kmetad._sources.environment import Environment
from kmetad._sources.serviceaccount import ServiceAccount
from kmetad._sources.volume import Volume
from kmetad.errors import ConfigError
from kmetad.metadata import Resource
from kmetad.quantity import Quantity
from kmetad.testing import kubelet

KEY = b"k" * 16
RESERVED = 'another name: "env" or "token" is the name of a source that is no volume'


def volume(directory: Path, **files: str) -> Path:
    """A volume as the kubelet leaves it."""
    directory.mkdir(parents=True)
    kubelet.Volume(directory).write(files=files)
    return directory


def config(text: str) -> Config:
    """A configuration that has no faults."""
    loaded = parse(text, "kmetad.toml")
    assert loaded.problems == ()
    return loaded.config


def test_declared(tmp_path: Path) -> None:
    """Declared volumes in order, then the environment, then the token; items mean what they say."""
    podinfo = volume(tmp_path / "podinfo", labels='app="a"', cpu="250", zone="z1")
    settings = volume(tmp_path / "settings", labels='app="b"')
    text = f"""
        [volumes.settings]
        path = "{settings}"
        kind = "files"
        [volumes.podinfo]
        path = "{podinfo}"
        items.cpu = {{ resource = "limits.cpu", container = "app", divisor = "1m" }}
        items.zone = {{ field = 'metadata.labels["zone"]' }}
        [env]
        WHERE = "status.podIP"
        CPU = {{ resource = "requests.cpu", divisor = "1m" }}
        [token]
        path = "{tmp_path}/token"
    """
    environ = {"WHERE": "10.0.0.1", "CPU": "100", "POD_NAME": "web-0"}
    sources = build_sources(config(text), environ, KEY, root=str(tmp_path / "nothing"))
    assert [(source.name, type(source)) for source in sources] == [
        ("settings", Volume),
        ("podinfo", Volume),
        ("env", Environment),
        ("token", ServiceAccount),
    ]
    assert [source.path for source in sources] == [str(settings), str(podinfo), None, f"{tmp_path}/token"]
    first, second, env = (source.read(NOTHING) for source in sources[:3])
    assert (dict(first.labels), list(first.files)) == ({}, ["settings/labels"])
    assert second.labels == {"app": "a"}
    assert second.resources == {"app.limits.cpu": Resource(250, Quantity("1m"))}
    assert second.fields == {"metadata.labels['zone']": "z1"}
    assert env.fields == {"status.podIP": "10.0.0.1", "metadata.name": "web-0"}
    assert env.resources == {".requests.cpu": Resource(100, Quantity("1m"))}


def test_by_convention(tmp_path: Path) -> None:
    """Where the configuration says nothing, what is there by convention is taken."""
    volume(tmp_path / "etc" / "podinfo", labels='app="a"')
    volume(tmp_path / "var" / "run" / "secrets" / "kubernetes.io" / "serviceaccount", namespace="ns")
    sources = build_sources(Config(), {}, KEY, root=str(tmp_path))
    assert [source.name for source in sources] == ["podinfo", "env", "token"]


def test_declared_volumes_alone(tmp_path: Path) -> None:
    """Declared volumes stand instead of those found by convention; a token that isn't there isn't missed."""
    volume(tmp_path / "etc" / "podinfo", labels='app="a"')
    sources = build_sources(config('[volumes.mine]\npath = "/mine"'), {}, KEY, root=str(tmp_path))
    assert [source.name for source in sources] == ["mine", "env"]


def test_nothing_at_all(tmp_path: Path) -> None:
    """The environment is always there."""
    assert [source.name for source in build_sources(Config(), {}, KEY, root=str(tmp_path))] == ["env"]


@pytest.mark.parametrize(
    ("text", "name", "path"),
    [
        ("/etc/podinfo", "podinfo", "/etc/podinfo"),
        ("/etc/podinfo/", "podinfo", "/etc/podinfo"),
        ("pod=/etc/podinfo", "pod", "/etc/podinfo"),
        ("pod=/etc/a=b", "pod", "/etc/a=b"),
        ("/etc/a=b", "a=b", "/etc/a=b"),
        ("./a=b", "a=b", os.path.abspath("a=b")),
        ("pod=here", "pod", os.path.abspath("here")),
        ("/somewhere/env", "env-2", "/somewhere/env"),
        ("/elsewhere/taken", "taken-2", "/elsewhere/taken"),
        ("/", "root", "/"),
    ],
)
def test_volume_option(text: str, name: str, path: str) -> None:
    """NAME=DIR names it; DIR alone is named after its last part, made unique."""
    found, made = volume_option(text, {"taken"})
    assert (found, made.path, made.kind) == (name, path, "auto")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", '--volume "": found no directory, expected [NAME=]DIR'),
        ("pod=", '--volume "pod=": found no directory, expected [NAME=]DIR'),
        (
            "=/etc/podinfo",
            '--volume "=/etc/podinfo": found the name "", expected a printable name without \'/\'',
        ),
        ("taken=/x", '--volume "taken=/x": found the name "taken" again, expected each name once'),
        ("env=/x", f'--volume "env=/x": found the name "env", expected {RESERVED}'),
    ],
)
def test_bad_volume_option(text: str, message: str) -> None:
    """Without a directory, or with a name that can't be, it says what is expected."""
    with pytest.raises(ConfigError) as caught:
        volume_option(text, {"taken"})
    assert str(caught.value) == message
