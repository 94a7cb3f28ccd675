"""The recorded swaps of a real kubelet, played by the simulated one: each gives exactly the batches it should."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kmetad import Batch
from kmetad._sources.volume import Volume as Source
from kmetad._watch import Watch
from kmetad.testing.kubelet import Volume

CASES = Path(__file__).parent / "data" / "atomicwriter"
NAMES = sorted(path.name.removesuffix(".write.json") for path in CASES.glob("*.write.json"))

# By case, the changes of the one batch that it gives; none where nothing was published.
EXPECTED: dict[str, list[tuple[str, str, str]]] = {
    "01-first-write": [
        ("annotation", "note", "added"),
        ("file", "podinfo/mem/limit", "added"),
        ("label", "app", "added"),
        ("label", "zone", "added"),
        ("resource", ".limits.cpu", "added"),
    ],
    "02-changed-value": [("label", "zone", "changed")],
    "03-unchanged": [],
    "04-added-file": [("file", "podinfo/extra", "added")],
    "05-removed-two-files": [("annotation", "note", "removed"), ("file", "podinfo/extra", "removed")],
    "06-same-content-other-mode": [],
    "07-unchanged-but-user-symlink-missing": [],
    "08-fs-group-set-changed": [("label", "app", "changed"), ("label", "zone", "removed")],
    "09-fs-user-set-changed": [("label", "app", "changed")],
    "10-stale-data_tmp-left-behind": [],
    "11-after-stale-removed": [("label", "app", "changed")],
    "12-empty-payload": [
        ("file", "podinfo/mem/limit", "removed"),
        ("label", "app", "removed"),
        ("resource", ".limits.cpu", "removed"),
    ],
    "13-two-quick": [
        ("annotation", "note", "added"),
        ("file", "podinfo/mem/limit", "added"),
        ("label", "app", "added"),
        ("label", "zone", "added"),
        ("resource", ".limits.cpu", "added"),
    ],
}


def test_every_case_is_expected_to_give_something() -> None:
    """A case that is recorded anew has to be thought about here."""
    assert sorted(EXPECTED) == NAMES


@pytest.mark.skipif(os.getuid() != 0, reason="cases 08 and 09 give files to other users and groups")
def test_recorded_cases(tmp_path: Path) -> None:
    """In the recorded order, on one volume, watched by inotify throughout: one batch for a swap, none without."""
    volume = Volume(tmp_path / "podinfo")
    os.mkdir(volume.path)
    watch = Watch([Source("podinfo", volume.path, kind="downward", digest_key=b"k")])
    batches: Iterator[Batch] = iter(watch)
    next(batches)
    for name in NAMES:
        case = json.loads((CASES / f"{name}.write.json").read_text())
        before = watch.snapshot
        swapped = _play(volume, name, case["request"])
        assert swapped is bool(EXPECTED[name]), name
        if not swapped:
            # Nothing must come of it: what comes next is the next case's alone.
            continue
        batch = next(batches)
        assert [(c.type, c.key, c.op) for c in batch.changes] == EXPECTED[name], name
        assert batch.previous is before
    assert watch._hints.wait(0).touched == set()
    watch.stop()


def _play(volume: Volume, name: str, request: dict[str, Any]) -> bool:
    volume.mode = request.get("mode", 0o644)
    volume.fs_group = request.get("fs_group")
    volume.fs_user = request.get("fs_user")
    if name.startswith("07"):
        os.unlink(os.path.join(volume.path, "labels"))
    if name.startswith("10"):
        volume.leave_stale_tmp()
        with pytest.raises(FileExistsError):
            _write(volume, request)
        volume.clear_stale_tmp()
        return False
    return _write(volume, request)


def _write(volume: Volume, request: dict[str, Any]) -> bool:
    return volume.write(
        labels=request.get("labels"), annotations=request.get("annotations"), files=request.get("files")
    )
