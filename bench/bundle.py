"""kmetad with an interpreter of its own, beside the same in an environment: sizes, and how soon each starts."""

from __future__ import annotations

import os
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.install import Installed
from bench.start import APP, Start, turns
from container import bundle, image, libraries

INSTALLED, BUNDLE = "installed", "bundle"
WHAT = {
    "kmetad --version": ("{kmetad}", "--version"),
    "kmetad run, until the app runs": ("{kmetad}", "run", "--", *APP),
    "python3 -c 'print()'": ("{python}", "-c", "print()"),
}


@dataclass
class Bundled:
    """What was measured; sizes in bytes."""

    starts: list[Start] = field(default_factory=list)
    size: int = 0
    files: int = 0
    archive: int = 0
    image: int = 0
    fault: str | None = None

    def pairs(self) -> Iterator[tuple[str, Start, Start]]:
        """What was started, installed and of the bundle."""
        for number, name in enumerate(WHAT):
            yield name, self.starts[2 * number], self.starts[2 * number + 1]


def measure(rounds: int, installed: Installed, directory: str) -> Bundled:
    """Build a bundle for a place under ``directory``, where programs can run, and let both take turns."""
    root, prefix = Path(directory, "bundled"), os.path.join(directory, "opt", "kmetad")
    bundled = Bundled()
    try:
        built = bundle.build(root, prefix)
    except libraries.Missing as missing:
        bundled.fault = str(missing)
        return bundled
    os.makedirs(os.path.dirname(prefix))
    os.rename(built, prefix)
    there = Path(prefix)
    bundled.size, bundled.files = bundle.size(there), sum(not path.is_dir() for path in there.rglob("*"))
    packed = [Path(directory, name) for name in ("bundle.tar.gz", "image.oci.tar")]
    bundle.archive(there, packed[0])
    image.write(image.described(image.CONTAINERFILE.read_text()), there, packed[1])
    bundled.archive, bundled.image = (path.stat().st_size for path in packed)
    places = {
        INSTALLED: {"kmetad": installed.script, "python": installed.python},
        BUNDLE: {"kmetad": f"{prefix}/bin/kmetad", "python": f"{prefix}/bin/python3"},
    }
    for name, argv in WHAT.items():
        for who, place in places.items():
            bundled.starts.append(Start(f"{name}, {who}", [part.format(**place) for part in argv]))
    turns(bundled.starts, rounds)
    return bundled


def rows(bundled: Bundled) -> Iterator[Sequence[str]]:
    """The table's lines."""
    yield "", "starts", "installed, p50 ms", "bundle, p50 ms", "x installed"
    if bundled.fault is not None:
        yield bundled.fault, *[""] * 4
        return
    for name, installed, ours in bundled.pairs():
        if fault := installed.fault or ours.fault:
            yield name, fault, "", "", ""
            continue
        medians = (f"{statistics.median(start.times):.1f}" for start in (installed, ours))
        yield name, str(len(ours.times)), *medians, f"{statistics.median(ours.ratios(installed)):.2f}"


def sizes(bundled: Bundled) -> str:
    """A line."""
    size, archive, whole = (
        f"{count / 1e6:.1f} MB" for count in (bundled.size, bundled.archive, bundled.image)
    )
    return f"The bundle: {size} in {bundled.files:,} files; packed {archive}; the image's archive {whole}\n"
