"""``kmetad get``"""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from kmetad.testing.kubelet import Volume
from tests.cli import environment, inside, kmetad


@pytest.fixture
def podinfo(tmp_path: Path) -> Path:
    """A volume with a bit of everything."""
    path = tmp_path / "podinfo"
    Volume(path).write(
        labels={"app": "web", "odd": "bytes \udcff"},
        annotations={"note": "two\nlines \x1b[31m"},
        files={"name": "web-1", "namespace": "shop", "cpu_limit": "500"},
    )
    return path


@pytest.fixture
def toml(tmp_path: Path, podinfo: Path) -> Path:
    """A configuration that declares the limits' divisor."""
    file = tmp_path / "kmetad.toml"
    file.write_text(
        f'[volumes.podinfo]\npath = "{podinfo}"\n'
        'items.cpu_limit = { resource = "limits.cpu", container = "app", divisor = "1m" }\n'
    )
    return file


def test_one_label(podinfo: Path) -> None:
    """The text and nothing else, for a script."""
    done = kmetad("get", "metadata.labels['app']", "--volume", str(podinfo))
    assert (done.stdout, done.stderr, done.returncode) == ("web\n", "", 0)


def test_a_value_s_bytes_arrive_as_they_are(podinfo: Path) -> None:
    """What was no UTF-8, and control characters, go through a pipe unchanged."""
    command = [sys.executable, "-m", "kmetad", "get", "--volume", str(podinfo)]
    for path, value in (
        ("metadata.labels['odd']", b"bytes \xff\n"),
        ("metadata.annotations['note']", b"two\nlines \x1b[31m\n"),
    ):
        assert subprocess.run([*command, path], env=environment(), capture_output=True).stdout == value


def test_a_value_cannot_command_a_terminal(podinfo: Path) -> None:
    """On a terminal escape codes show themselves instead of acting."""
    master, slave = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "kmetad", "get", "metadata.annotations['note']", "--volume", str(podinfo)],
        env=environment(),
        stdout=slave,
        timeout=60,
    )
    os.close(slave)
    shown = os.read(master, 4096).replace(b"\r\n", b"\n")
    os.close(master)
    assert (shown, done.returncode) == (b"two\nlines \\x1b[31m\n", 0)


def test_the_configuration_is_used(toml: Path) -> None:
    """-c and KMETAD_CONFIG name it; its divisor gives the number a meaning."""
    assert inside("get", "app.limits.cpu", "-c", str(toml)).stdout == "500m\n"
    assert inside("get", "limits.cpu", env={"KMETAD_CONFIG": str(toml)}).stdout == "500m\n"


def test_everything_as_a_table(toml: Path) -> None:
    """Aligned, each line's first column a path; no value breaks a line."""
    done = inside("get", "-c", str(toml))
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        "metadata.name                 web-1",
        "metadata.namespace            shop",
        "metadata.labels['app']        web",
        "metadata.labels['odd']        \"bytes \\xff\"",
        "metadata.annotations['note']  \"two\\nlines \\x1b[31m\"",
        "app.limits.cpu                500m",
    ]


def test_everything_as_json(toml: Path) -> None:
    """A Pod's shape, bytes that were no UTF-8 as lone surrogates, as INTERFACE has it."""
    done = inside("get", "-c", str(toml), "-o", "json")
    assert "\\udcff" in done.stdout
    pod = json.loads(done.stdout)
    assert pod["metadata"]["labels"] == {"app": "web", "odd": "bytes \udcff"}
    assert pod["resources"] == {"app": {"limits": {"cpu": "500m"}}}


def test_one_field_as_json(toml: Path) -> None:
    """A string; a whole map as an object."""
    assert inside("get", "limits.cpu", "-o", "json", "-c", str(toml)).stdout == '"500m"\n'
    done = inside("get", "metadata.annotations", "-o", "json", "-c", str(toml))
    assert json.loads(done.stdout) == {"note": "two\nlines \x1b[31m"}


def test_the_environment_speaks_too(podinfo: Path) -> None:
    """Fields that only variables carry are found by their usual names."""
    env = {"POD_IP": "10.1.2.3", "NODE_NAME": "node-7"}
    assert inside("get", "status.podIP", "--volume", str(podinfo), env=env).stdout == "10.1.2.3\n"
    done = inside("get", "-o", "env", "--volume", str(podinfo), env=env)
    assert done.stdout.splitlines() == [
        "POD_NAME=web-1",
        "POD_NAMESPACE=shop",
        "POD_IP=10.1.2.3",
        "NODE_NAME=node-7",
        "CPU_LIMIT=500",
    ]
    done = inside("get", "-o", "otel", "--volume", str(podinfo), env=env)
    assert done.stdout == "k8s.namespace.name=shop,k8s.pod.name=web-1,k8s.node.name=node-7\n"


def test_no_such_field_now(podinfo: Path) -> None:
    """Exit code 1, and it says which."""
    done = kmetad("get", "metadata.labels['tier']", "--volume", str(podinfo))
    assert (done.stdout, done.returncode) == ("", 1)
    assert done.stderr == "kmetad: there is no metadata.labels['tier'] now\n"


def test_why_a_field_is_missing(tmp_path: Path) -> None:
    """A volume that isn't there is named."""
    done = inside("get", "metadata.name", "--volume", str(tmp_path / "nowhere"))
    assert done.returncode == 1
    assert f"kmetad: nowhere: {tmp_path}/nowhere" in done.stderr


def test_an_unknown_path_is_told_with_what_was_meant(podinfo: Path) -> None:
    """Exit code 2, with a suggestion."""
    done = kmetad("get", "metadata.nam", "--volume", str(podinfo))
    assert (done.stdout, done.returncode) == ("", 2)
    assert done.stderr.startswith("kmetad: 'metadata.nam'")
    assert "metadata.name" in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["-o", "yaml"],
        ["--nonsense"],
        ["metadata.name", "metadata.uid"],
        ["metadata.name", "-o", "env"],
        ["metadata.name", "-o", "otel"],
        ["--volume", "env=/etc/podinfo"],
        ["--volume", "a=/x", "--volume", "a=/y"],
        ["-c", "/nowhere/kmetad.toml"],
    ],
)
def test_usage_errors(arguments: list[str]) -> None:
    """Exit code 2, a message that starts with the program's name, nothing on standard output."""
    done = inside("get", *arguments)
    assert (done.stdout, done.returncode) == ("", 2)
    assert done.stderr.startswith("kmetad: ")


def test_a_configuration_that_does_not_parse(tmp_path: Path) -> None:
    """Exit code 2 with the file and the line."""
    file = tmp_path / "kmetad.toml"
    file.write_text("[volumes\n")
    done = inside("get", "-c", str(file))
    assert done.returncode == 2
    assert f"kmetad: {file}:1: " in done.stderr


def test_lesser_faults_of_the_configuration_are_told(toml: Path) -> None:
    """A fault elsewhere in the file doesn't keep the field back."""
    toml.write_text(toml.read_text() + "[watch]\nrescan = 5\n")
    done = inside("get", "metadata.name", "-c", str(toml))
    assert (done.stdout, done.returncode) == ("web-1\n", 0)
    assert "watch.rescan" in done.stderr


def test_nothing_known(tmp_path: Path) -> None:
    """No Pod, no volume: nothing on standard output, a word on standard error."""
    done = inside("get", "--volume", str(tmp_path))
    assert (done.stdout, done.returncode) == ("", 0)
    assert "kmetad: nothing is known of a Pod here" in done.stderr
