"""The units as files: what systemd makes of them, and how much they leave open."""

from __future__ import annotations

import functools
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.test_packaging import ROOT

UNITS = ("kmetad.service", "kmetad@.service")
PAGE = ROOT / "docs" / "systemd.md"
EXPOSURE = 1.5
"""Of 10, at most, by `systemd-analyze security`."""


@functools.cache
def _drop_ins() -> tuple[str, ...]:
    blocks = re.findall(r"^    \[Service\]\n(?:    .*\n)+", PAGE.read_text(), re.MULTILINE)
    return tuple(re.sub("^    ", "", block, flags=re.MULTILINE) for block in blocks)


def drop_ins(holding: str = "") -> list[str]:
    """Those that docs/systemd.md shows, with this text in them."""
    return [text for text in _drop_ins() if holding in text]


def analyze(*arguments: str) -> str:
    """What systemd-analyze says, which has to end well; skips the test where there is none."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze isn't installed here (package systemd)")
    done = subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def placed(unit: str, directory: Path, *more: str) -> Path:
    """A unit, with drop-ins, in a directory. Its command is one that is there."""
    text = (ROOT / "systemd" / unit).read_text().replace("/opt/kmetad/bin/kmetad", shutil.which("true") or "")
    file = directory / unit.replace("@", "@web")
    file.write_text(text)
    for number, drop_in in enumerate(more):
        (directory / f"{file.name}.d").mkdir(exist_ok=True)
        (directory / f"{file.name}.d" / f"{number}.conf").write_text(drop_in)
    return file


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_accepts_it(unit: str, tmp_path: Path) -> None:
    """Nothing is unknown, misspelt or impossible."""
    assert analyze("verify", "--man=no", str(placed(unit, tmp_path))) == ""


def test_systemd_accepts_the_drop_ins(tmp_path: Path) -> None:
    """Each of docs/systemd.md, and all together; and it would say so if there were a fault."""
    assert len(drop_ins()) > 10
    assert analyze("verify", "--man=no", str(placed("kmetad.service", tmp_path, *drop_ins()))) == ""
    wrong = placed("kmetad.service", tmp_path, "[Service]\nProtectEverything=yes\n")
    assert "ProtectEverything" in analyze("verify", "--man=no", str(wrong))


@pytest.mark.parametrize("unit", UNITS)
def test_little_is_left_open(unit: str, tmp_path: Path) -> None:
    """As systemd counts, 0 for nothing and 10 for everything."""
    found = analyze("security", "--offline=yes", "--no-pager", str(placed(unit, tmp_path)))
    exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", found)
    assert exposure is not None, found
    assert float(exposure[1]) <= EXPOSURE, found
    if unit == "kmetad.service":
        assert f"says {exposure[1]} of 10" in PAGE.read_text()


def test_an_instance_is_the_same() -> None:
    """But for its names."""
    one, other = (
        [line for line in (ROOT / "systemd" / unit).read_text().splitlines() if not line.startswith("#")]
        for unit in UNITS
    )
    names = {"/%i.toml": "/kmetad.toml", "kmetad-%i": "kmetad", " (%i)": ""}
    for name, plain in names.items():
        other = [line.replace(name, plain) for line in other]
    assert one == other
