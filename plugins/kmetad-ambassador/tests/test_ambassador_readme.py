"""The README: its first steps are taken, its tables are compared with what there is."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from kmetad_ambassador.asked import asked
from kmetad_ambassador.options import Options
from kmetad_ambassador.refusal import Refusal
from kmetad_ambassador.rule import parse_rule
from kmetad_ambassador.rules import policy
from kmetad_ambassador.target import canonical
from msgspec import structs

from tests.cli import Running
from tests.proxying import Lab

PAGE = (Path(__file__).parent.parent / "README.md").read_text()


def section(title: str) -> str:
    """A part of the page."""
    return PAGE.partition(f"## {title}\n")[2].partition("\n## ")[0]


def steps(text: str) -> list[tuple[str, str]]:
    """The commands of a part, each with the word behind its ``#``."""
    return re.findall(r"^    \$ (.*?)(?: +# (\w+))?$", text, re.MULTILINE)


@pytest.fixture
def address(lab: Lab) -> Iterator[str]:
    """Where a ``kmetad proxy`` serves, started as the page starts it but for the port."""
    lab.api.put({"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "other"}})
    account = f'[token]\npath = "{lab.mount.path}"\n'
    config = lab.directory / "kmetad.toml"
    config.write_text(account)
    with Running("proxy", "--port", "0", "-c", str(config), env={**os.environ, **lab.environ}) as process:
        line = process.out.line()
        assert line.startswith("Starting to serve on 127.0.0.1:")
        yield line.split()[-1]


def test_first_steps(address: str, lab: Lab) -> None:
    """Each command answers with what stands behind it: a kind, a type of event, or a status."""
    for needed in ("curl", "kubectl"):
        if shutil.which(needed) is None:
            pytest.skip(f"needs {needed}")
    (start, _), *asked = steps(section("First steps"))
    assert start == "kmetad proxy &"
    assert len(asked) == 8
    for command, word in asked:
        watches = "watch=1" in command
        script = command.replace("localhost:8001", address)
        with subprocess.Popen(["bash", "-c", f"exec {script}"], stdout=subprocess.PIPE, text=True) as process:
            try:
                assert process.stdout is not None
                out = process.stdout.readline() if watches else process.stdout.read()
            finally:
                if watches:
                    process.terminate()
        if not word:
            assert re.search(r"^web +1/1 +Running", out, re.MULTILINE), out
            continue
        document = json.loads(out)
        assert word in (document.get("kind"), document.get("type"), str(document.get("code"))), out
        if word == "403":
            assert document["message"].startswith("kmetad proxy: ")


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_counters(address: str) -> None:
    """``/healthz?verbose`` shows the lines that the page shows."""
    shown = re.findall(r"^    ([a-z]+ ?[a-z]*) ?(?:\d+ )?\d+$", section("To look at it"), re.MULTILINE)
    assert len(shown) == 5
    for path in ("/api", "/api/v1/secrets", "/healthz?verbose"):
        out = subprocess.run(["curl", "-s", f"{address}{path}"], stdout=subprocess.PIPE, text=True).stdout
    for name in shown:
        assert re.search(rf"^{name}", out, re.MULTILINE), (name, out)


def test_rules() -> None:
    """The table's rules are rules, and no two requests of those that it speaks of are told apart wrongly."""
    rows = dict(re.findall(r"^\| `([a-z,]+:[^`]+)` \| (.*) \|$", section("What is allowed"), re.MULTILINE))
    assert len(rows) == 7
    allowed = {
        "get,list,watch:pods,pods/log:lab": ("GET", "/api/v1/namespaces/lab/pods/web/log"),
        "patch:deployments.apps:lab:web": ("PATCH", "/apis/apps/v1/namespaces/lab/deployments/web"),
        "get:*.apps": ("GET", "/apis/apps/v1/namespaces/lab/replicasets/web"),
        "get,list,watch:*": ("GET", "/apis/batch/v1/jobs?watch=1"),
        "create,get:pods/exec:lab": ("POST", "/api/v1/namespaces/lab/pods/web/exec?command=sh"),
        "get:secrets:lab:db": ("GET", "/api/v1/namespaces/lab/secrets/db"),
        "get:/metrics,/logs/*": ("GET", "/logs/kubelet.log"),
    }
    assert set(rows) == set(allowed)
    for rule in rows:
        for other, (method, target) in allowed.items():
            may = policy((parse_rule(rule),), False)
            terms = asked(method, canonical(target.encode()))
            if rule == other:
                may.check(terms)
            elif (rule, other) not in {
                ("get,list,watch:*", "get:*.apps"),
                ("get,list,watch:*", "get,list,watch:pods,pods/log:lab"),
            }:
                with pytest.raises(Refusal):
                    may.check(terms)


def test_options() -> None:
    """Each option is in the table, with its default."""
    rows = [line.split(" |")[:2] for line in section("Options").splitlines() if line.startswith("| `")]
    defaults: dict[str, str] = {}
    for names, shown in rows:
        shown = shown.strip()
        keys = re.findall(r"`(\w+)`", names)
        values = shown.split(", ") if shown else [""] * len(keys)
        assert len(keys) == len(values), names
        defaults |= dict(zip(keys, (value.strip("`") for value in values), strict=True))
    fields = {field.name: field.default for field in structs.fields(Options)}
    assert set(defaults) == set(fields)
    for name, default in fields.items():
        match default:
            case None | ():
                assert defaults[name] in ("", "none")
            case timedelta():
                assert defaults[name] == f'"{default.total_seconds():g}s"'
            case tuple():
                assert defaults[name] in ("loopback's names", json.dumps(default))
            case _ if name in ("allow_write",):
                assert defaults[name] == ""
            case _:
                assert defaults[name] == json.dumps(default)
