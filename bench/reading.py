"""What every watcher but kmetad does with a volume: one consistent read, in plain Python.

No faults are handled, nothing is kept or compared: this is the least that anybody
who wants the content of one generation has to do.
"""

from __future__ import annotations

import os

from bench.volume import MARKER


def read_volume(path: str) -> dict[str, dict[str, str] | str]:
    """Every file of one generation; ``labels`` and ``annotations`` as maps."""
    link = path + "/..data"
    while True:
        target = os.readlink(link)
        contents: dict[str, bytes] = {}
        try:
            directory = os.open(f"{path}/{target}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            for name in os.listdir(directory):
                file = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
                try:
                    contents[name] = os.read(file, 1 << 20)
                finally:
                    os.close(file)
        except FileNotFoundError:
            continue
        finally:
            os.close(directory)
        if os.readlink(link) == target:
            return {name: _decode(name, content) for name, content in contents.items()}


def marker(path: str) -> str:
    """Read a volume; answers the marker in its labels."""
    labels = read_volume(path)["labels"]
    assert isinstance(labels, dict)
    return labels[f"{os.path.basename(path)}.{MARKER}"]


def _decode(name: str, content: bytes) -> dict[str, str] | str:
    text = content.decode("utf-8", "surrogateescape")
    if name not in ("labels", "annotations"):
        return text
    values = {}
    for line in text.split("\n"):
        key, _, value = line.partition("=")
        values[key] = value[1:-1] if "\\" not in value else _unquote(value)
    return values


def _unquote(value: str) -> str:
    raise NotImplementedError(f"the bench writes no backslash, yet there is one in {value!r}")
