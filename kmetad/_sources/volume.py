"""A mounted volume: what its files say of the Pod."""

from __future__ import annotations

import os

# blake2 without hashlib, whose import loads the whole of OpenSSL into every pod.
from _blake2 import blake2b
from collections.abc import Hashable, Mapping
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from kmetad._sources.content import Content
from kmetad._sources.generation import explain, fingerprint, printable, read_generation
from kmetad._sources.items import BY_FILE, Item, is_integer
from kmetad._sources.textmap import decode
from kmetad.errors import DecodeError
from kmetad.metadata import EMPTY, Digest, Resource

Kind = Literal["auto", "downward", "files"]

_CHUNK = 64 * 1024
_MAPS = {"labels": "metadata.labels", "annotations": "metadata.annotations"}
_DIGEST_BYTES = 16

V = TypeVar("V")


class Volume:
    """A Source: a directory that the kubelet swaps, or one of plain files.

    ``kind``: with ``downward``, files are metadata where ``items`` declare them or
    their name and content say so; with ``files`` none is, and only keyed digests are
    kept. ``auto`` is downward if items are declared, or ``labels`` or ``annotations``
    is there and decodes whole; once so, it stays so, and a file that doesn't decode
    later is a fault. ``digest_key``: at most 64 bytes that nobody else knows.
    """

    def __init__(
        self,
        name: str,
        path: str,
        *,
        kind: Kind = "auto",
        items: Mapping[str, Item] | None = None,
        digest_key: bytes,
    ) -> None:
        self.name = name
        self.path = path
        self.swapped = True
        self._items = dict(items or {})
        self._downward = kind == "downward" or (kind == "auto" and bool(self._items))
        self._may_be_downward = kind != "files"
        self._key = digest_key
        self._seen_swaps = False
        # Labels and annotations as they were last decoded, by path: most swaps change one file.
        self._decoded: dict[str, tuple[bytes, Mapping[str, str]]] = {}

    def fingerprint(self) -> Hashable:
        return fingerprint(self.path, expect_swaps=self._seen_swaps)

    def read(self, previous: Content) -> Content:
        generation = read_generation(self.path, self._take, expect_swaps=self._seen_swaps)
        self.swapped = generation.swapped_ns is not None
        self._seen_swaps = self._seen_swaps or self.swapped
        if not self._downward and self._may_be_downward:
            self._downward = any(self._decodes(name, generation.files) for name in _MAPS)
        reading = _Reading(self, previous)
        for path in sorted(generation.files):
            reading.add(path, generation.files[path])
        return Content(
            labels=_share(reading.maps["metadata.labels"], previous.labels),
            annotations=_share(reading.maps["metadata.annotations"], previous.annotations),
            fields=_share(reading.fields, previous.fields),
            resources=_share(reading.resources, previous.resources),
            files=_share(reading.files, previous.files),
            swapped_ns=generation.swapped_ns,
            fingerprint=generation.fingerprint,
            faults=tuple(reading.faults),
            unreadable=tuple(reading.unreadable),
        )

    def item(self, path: str) -> Item | None:
        """What a file was declared as, or is by its name; None for any other file."""
        if not self._downward:
            return None
        declared = self._items.get(path)
        return declared if declared is not None else Item(field=_MAPS[path]) if path in _MAPS else None

    def digest(self, content: bytes) -> Digest:
        """What is kept of a content that isn't metadata."""
        return Digest(blake2b(content, key=self._key, digest_size=_DIGEST_BYTES).digest())

    def decoded(self, path: str, content: bytes) -> Mapping[str, str]:
        """A labels or annotations file as a map; the same object while it stays the same. Raises DecodeError."""
        raw, values = self._decoded.get(path, (None, EMPTY))
        if raw != content:
            values = decode(content, path)
            self._decoded[path] = content, values
        return values

    def _take(self, file: int, path: str) -> bytes | Digest:
        """A whole file; of a large one that can't be metadata only the digest, piece by piece."""
        chunk = os.read(file, _CHUNK)
        if len(chunk) < _CHUNK:
            return chunk
        if self._may_be_downward and (path in _MAPS or path in self._items):
            chunks = [chunk]
            while chunk := os.read(file, _CHUNK):
                chunks.append(chunk)
            return b"".join(chunks)
        digest = blake2b(chunk, key=self._key, digest_size=_DIGEST_BYTES)
        while chunk := os.read(file, _CHUNK):
            digest.update(chunk)
        return Digest(digest.digest())

    def _decodes(self, path: str, files: Mapping[str, object]) -> bool:
        content = files.get(path)
        if not isinstance(content, bytes):
            return False
        try:
            self.decoded(path, content)
        except DecodeError:
            return False
        return True


class _Reading:
    """One generation's files, sorted into the parts of a snapshot."""

    def __init__(self, volume: Volume, previous: Content) -> None:
        self.maps: dict[str, Mapping[str, str]] = dict.fromkeys(_MAPS.values(), EMPTY)
        self.fields: dict[str, str] = {}
        self.resources: dict[str, Resource] = {}
        self.files: dict[str, Digest] = {}
        self.faults: list[str] = []
        self.unreadable: list[str] = []
        self._volume = volume
        self._previous = previous

    def add(self, path: str, content: object) -> None:
        """Sort one file in; what can't be read or understood keeps its last value."""
        item = self._volume.item(path)
        if isinstance(content, OSError):
            status = content.filename2 if isinstance(content.filename2, os.stat_result) else None
            self.unreadable.append(explain(content, path, status))
            self._keep(path, item)
        elif isinstance(content, Digest):
            self.files[self._file_key(path)] = content
        elif isinstance(content, bytes):
            try:
                self._add(path, item, content)
            except DecodeError as error:
                self.faults.append(f"{printable(str(error))}; the value before is kept")
                self._keep(path, item)

    def _add(self, path: str, item: Item | None, content: bytes) -> None:
        volume = self._volume
        if item is None:
            known = BY_FILE.get(path) if volume.item("labels") is not None else None
            text = content.decode("utf-8", "surrogateescape")
            if known is None or not known[1](text):
                self.files[self._file_key(path)] = volume.digest(content)
                return
            item = known[0]
        if item.resource is not None:
            number = content.decode("utf-8", "surrogateescape")
            if not is_integer(number):
                raise DecodeError("no bare integer, as the kubelet writes resources", file=path)
            self.resources.setdefault(item.key, Resource(int(number), item.divisor))
        elif item.field in self.maps:
            values = volume.decoded(path, content)
            before = self.maps[item.field]
            self.maps[item.field] = {**values, **before} if before else values
        else:
            self.fields.setdefault(item.key, content.decode("utf-8", "surrogateescape"))

    def _keep(self, path: str, item: Item | None) -> None:
        """Take over what the reading before had of this file."""
        previous = self._previous
        if item is None:
            key = self._file_key(path)
            _keep(key, previous.files, self.files)
            if path in BY_FILE:
                _keep(BY_FILE[path][0].key, previous.fields, self.fields)
                _keep(BY_FILE[path][0].key, previous.resources, self.resources)
        elif item.resource is not None:
            _keep(item.key, previous.resources, self.resources)
        elif item.field in self.maps:
            part = previous.labels if item.field == "metadata.labels" else previous.annotations
            self.maps[item.field] = {**part, **self.maps[item.field]}
        else:
            _keep(item.key, previous.fields, self.fields)

    def _file_key(self, path: str) -> str:
        return f"{self._volume.name}/{path}"


def _keep(key: str, before: Mapping[str, V], now: dict[str, V]) -> None:
    if key in before:
        now[key] = before[key]


def _share(values: Mapping[str, Any], previous: Mapping[str, Any]) -> Mapping[str, Any]:
    """The previous object if it says the same, so that ``diff`` may skip it."""
    if not values:
        return EMPTY
    return previous if previous == values else MappingProxyType(values)
