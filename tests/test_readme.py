"""Every code block of the READMEs and of docs/ runs, in the Pod that the README's own manifest describes."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import signal
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from kmetad_ambassador import command as proxy

from kmetad._config.model import Run
from kmetad._config.units import parse_duration
from kmetad.quantity import Quantity
from kmetad.testing import kubelet
from tests.test_packaging import INSTALL, ROOT, plain_environment

README, RUNNING = ROOT / "README.md", ROOT / "docs" / "running.md"
TIME = re.compile(r"(\d{4}-\d\d-\d\dT)?\d\d:\d\d:\d\d\.\d+Z?")
ELSEWHERE = {INSTALL}
"""Commands that another test runs: tests/test_packaging.py."""


@dataclass(frozen=True)
class Block:
    """A fenced block; ``line`` counts from 1, ``title`` is the heading that it stands under."""

    file: Path
    line: int
    title: str
    language: str
    text: str

    @property
    def place(self) -> str:
        """``README.md:12``."""
        return f"{self.file.relative_to(ROOT)}:{self.line}"


def blocks(file: Path) -> list[Block]:
    """All fenced blocks of a file."""
    text = file.read_text()
    found = []
    for fence in re.finditer(r"^```(.*)\n((?:.*\n)*?)```$", text, re.MULTILINE):
        before = text[: fence.start()]
        title = re.findall(r"^#+ (.*)$", before, re.MULTILINE)[-1]
        found.append(Block(file, before.count("\n") + 1, title, fence[1], fence[2]))
    return found


WALKED = ROOT / "docs" / "plugins.md"
"""A tutorial, whose blocks build on each other: tests/test_docs_plugins.py."""
DOCUMENTS = (README, *sorted({*ROOT.glob("docs/*.md")} - {WALKED}), *sorted(ROOT.glob("plugins/*/README.md")))
BLOCKS = [block for file in DOCUMENTS for block in blocks(file)]


def each(*languages: str) -> pytest.MarkDecorator:
    """Parametrize a test with the blocks of these languages."""
    chosen = [block for block in BLOCKS if block.language in languages]
    return pytest.mark.parametrize("block", [pytest.param(block, id=block.place) for block in chosen])


def of_readme(language: str) -> list[str]:
    """The texts of README.md's own blocks in a language."""
    return [block.text for block in BLOCKS if block.file == README and block.language == language]


def configuration_of(block: Block) -> str:
    """The TOML that a block is about: the one under the same heading, else README.md's, or both if it adds to that."""
    beside = [other for other in BLOCKS if (other.file, other.title) == (block.file, block.title)]
    found = next((other.text for other in beside if other.language == "toml"), "")
    return found if "[volumes" in found else of_readme("toml")[0] + found


def containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    """All of a Pod, sidecars included; kmetad's own first."""
    both: list[dict[str, Any]] = [*spec.get("initContainers", ()), *spec["containers"]]
    return sorted(both, key=lambda container: container["name"] != "kmetad")


class Pod:
    """README.md's Pod under a directory of its own: its volumes, as the kubelet would have written them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.manifest = yaml.safe_load(of_readme("yaml")[0])
        metadata, spec = self.manifest["metadata"], self.manifest["spec"]
        limits = {container["name"]: container.get("resources") for container in spec["containers"]}
        mounts = {mount["name"]: mount["mountPath"] for mount in containers(spec)[0]["volumeMounts"]}
        for path in mounts.values():
            os.makedirs(self.at(path))
        (volume,) = (volume for volume in spec["volumes"] if "downwardAPI" in volume)
        files = {item["path"]: _projected(item, metadata, limits) for item in volume["downwardAPI"]["items"]}
        del files["labels"], files["annotations"]
        self.podinfo = kubelet.Volume(self.at(mounts[volume["name"]]))
        self.podinfo.write(labels=metadata["labels"], annotations={}, files=files)
        self.settings = kubelet.Volume(self.at("/etc/web"))
        self.settings.write(files={"gunicorn.conf.py": "workers = 2\n"})
        self.toml = root / "etc/kmetad/kmetad.toml"
        self.toml.write_text(self.here(of_readme("toml")[0]))
        self.plugin = root / "etc/kmetad/levels.py"
        self.plugin.write_text(next(text for text in of_readme("python") if "class Plugin" in text))
        binaries = os.path.dirname(sys.executable)
        self.env = plain_environment() | {
            "KMETAD_CONFIG": str(self.toml),
            "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        }
        self.env |= {name: value for name, value in os.environ.items() if name.startswith("COV")}

    def at(self, path: str) -> str:
        """Where an absolute path of the Pod is here."""
        return f"{self.root}{path}"

    def here(self, text: str) -> str:
        """A text with the Pod's paths as they are here."""
        return re.sub(r"(?<![\w./])/(etc|run)/", self.at(r"/\1/"), text)

    def start(self, *argv: str) -> subprocess.Popen[str]:
        """Start a command as in the Pod."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            argv, cwd=ROOT, env=self.env, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True
        )


def _projected(item: dict[str, Any], metadata: dict[str, Any], limits: dict[str, Any]) -> str:
    """What the kubelet writes for an item of a downwardAPI volume."""
    if "fieldRef" in item:
        section, _, name = item["fieldRef"]["fieldPath"].partition(".")
        assert section == "metadata"
        return str(metadata.get(name, ""))
    reference = item["resourceFieldRef"]
    kind, _, resource = reference["resource"].partition(".")
    quantity = Quantity(limits[reference["containerName"]][kind][resource])
    return str(-(-quantity.milli // Quantity(reference["divisor"]).milli))


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    """README.md's Pod."""
    return Pod(tmp_path)


def commands(block: Block) -> list[tuple[str, str]]:
    """The commands of a console block, each with the output shown below it."""
    return [
        (found[1], found[2])
        for found in re.finditer(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block.text, re.MULTILINE)
    ]


def test_every_block_is_of_a_language_that_is_run() -> None:
    """A block in any other language would never fail.

    tests/test_containerfiles.py builds the images, tests/test_cookbook.py runs what an app has in a file of its own.
    """
    languages = {"console", "dockerfile", "python", "toml", "yaml"}
    assert {block.language for block in BLOCKS} <= languages | {"py"}
    assert {block.language for block in BLOCKS if block.file == README} == languages
    for block in BLOCKS:
        assert block.language != "console" or commands(block), block.place


@each("toml")
def test_configurations_are_accepted(block: Block, pod: Pod) -> None:
    """``kmetad check`` finds no fault, the plugins' own options included."""
    pod.toml.write_text(pod.here(block.text))
    checked = pod.start("kmetad", "check")
    out, err = checked.communicate(timeout=60)
    assert checked.returncode == 0, f"{block.place}\n{out}\n{err}"


@each("yaml")
def test_manifests_fit_the_configuration(block: Block, pod: Pod) -> None:
    """Volumes that are mounted exist, and what the TOML names is mounted into kmetad's container."""
    spec = yaml.safe_load(block.text)["spec"]
    volumes = {volume["name"] for volume in spec["volumes"]}
    for container in containers(spec):
        assert {mount["name"] for mount in container.get("volumeMounts", ())} <= volumes
    own = containers(spec)[0]
    if own.get("command", ())[1:2] == ["proxy"]:  # which has no configuration, but options
        parser = argparse.ArgumentParser()
        proxy.arguments(parser)
        proxy.options_of(parser.parse_args(own["args"]))
        return
    toml = tomllib.loads(configuration_of(block))
    mounted = {mount["mountPath"] for mount in own["volumeMounts"]}
    assert {volume["path"] for volume in toml["volumes"].values()} <= mounted
    pid_files = [plugin["pid_file"] for plugin in toml.get("plugins", {}).values() if "pid_file" in plugin]
    assert {os.path.dirname(path) for path in pid_files} <= mounted


def test_timeouts_of_the_manifest_add_up() -> None:
    """The page's own sums: hook, app and drain within the grace period; waiting and start within the startupProbe."""
    block = next(b for b in BLOCKS if b.file == RUNNING and b.language == "yaml" and "preStop" in b.text)
    spec = yaml.safe_load(block.text)["spec"]
    run = tomllib.loads(configuration_of(block))["run"]
    (app,) = spec["containers"]
    (graceful,) = re.findall(r"--graceful-timeout=(\d+)", " ".join(app["args"]))
    stop = (
        app["lifecycle"]["preStop"]["sleep"]["seconds"],
        int(graceful),
        parse_duration(run["drain_timeout"]),
    )
    assert sum(stop) < spec["terminationGracePeriodSeconds"]
    assert " + ".join(f"{seconds:g}" for seconds in stop) in RUNNING.read_text()
    probe = app["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] > parse_duration(run["sync_timeout"])


def test_defaults_are_the_real_ones() -> None:
    """A default in parentheses is that of the configuration."""
    told = re.findall(r"`(\w+_timeout)` \((\w+)\)", RUNNING.read_text())
    assert {name for name, _ in told} == {
        "drain_timeout",
        "first_tags_timeout",
        "stop_timeout",
        "sync_timeout",
    }
    for name, default in told:
        assert getattr(Run(), name) == parse_duration(default), name


@each("console")
def test_commands_do_what_is_shown(block: Block, pod: Pod) -> None:
    """Each command ends well, and prints what stands below it but for the time."""
    pod.toml.write_text(pod.here(configuration_of(block)))
    for command, shown in commands(block):
        if command in ELSEWHERE:
            continue
        if command.startswith("make "):  # `make test` runs this very test: only look at what it would do
            command = command.replace("make ", "make --dry-run ", 1)
            shown = ""
        out = _follow(pod, command, shown) if "kmetad events" in command else _run(pod, command)
        if shown:
            assert TIME.sub("TIME", out) == TIME.sub("TIME", shown), command


def _run(pod: Pod, command: str) -> str:
    process = pod.start("bash", "-c", pod.here(command))
    if "kmetad wait" in command:
        pod.podinfo.label("log-level", "debug")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, f"{command}\n{out}\n{err}"
    return out


def _follow(pod: Pod, command: str, shown: str) -> str:
    """What a command that never ends prints when the label changes, as many lines as are shown."""
    process = pod.start(*shlex.split(pod.here(command)))
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        for line in process.stderr:
            if "watching podinfo" in line:
                break
        pod.podinfo.label("log-level", "debug")
        return "".join(process.stdout.readline() for _ in shown.splitlines())
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


@pytest.mark.timeout(30)  # seconds: what is waited for may never come
@each("python")
def test_programs_run(block: Block, pod: Pod) -> None:
    """A plugin is told of a changed label by the daemon, any other program sees it by itself, or says what it says."""
    if says := re.search(r"  # (.+)\n\Z", block.text):
        out, err = pod.start(sys.executable, "-c", pod.here(block.text)).communicate(timeout=20)
        assert out + err == f"{says[1]}\n"
        return
    if "class Plugin" in block.text:
        table = next(text for text in of_readme("toml") if "levels.py" in text)
        with pod.toml.open("a") as toml:
            toml.write(pod.here(table))
        process = pod.start("kmetad", "run", "--", "sleep", "infinity")
        output, first, then = process.stderr, "the level is info", "the level was info and is debug"
    else:
        process = pod.start(sys.executable, "-u", "-c", pod.here(block.text))
        output, first, then = process.stdout, "added label log-level info", "changed label log-level debug"
    assert output is not None
    seen = []
    try:
        for line in output:
            seen.append(line)
            if line.rstrip() == first:
                pod.podinfo.label("log-level", "debug")
            if line.rstrip() == then:
                break
        else:
            pytest.fail(f"{block.place} ended without {then!r}:\n{''.join(seen)}")
    finally:
        process.terminate()
        process.communicate(timeout=60)
