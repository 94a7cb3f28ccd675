"""A mounted volume: what its files say of the Pod."""

from __future__ import annotations

import os

# blake2 without hashlib, whose import loads the whole of OpenSSL into every pod.
from _blake2 import blake2b
from collections.abc import Hashable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal

from kmetad._sources.content import NOTHING, Content
from kmetad._sources.generation import Generation, fingerprint, read_generation
from kmetad._sources.items import BY_FILE, Item, is_integer
from kmetad._sources.permissions import explain, printable
from kmetad._sources.textmap import decode
from kmetad.errors import DecodeError
from kmetad.metadata import EMPTY, Digest, Resource

Kind = Literal["auto", "downward", "files"]

_CHUNK = 64 * 1024
_DIGEST_BYTES = 16
_LONGEST = 16 << 20  # of a file of metadata: all annotations have 256 KiB, a byte of which takes four quoted
_PARTS = ("labels", "annotations", "fields", "resources", "files")
_WHOLE = {"metadata.labels": "labels", "metadata.annotations": "annotations"}
_BY_CONVENTION = {part: Item(field=path) for path, part in _WHOLE.items()}


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
        self._declared = frozenset(items or ())
        self._items = {} if kind == "files" else {**_BY_CONVENTION, **(items or {})}
        self._downward = kind == "downward" or (kind == "auto" and bool(items))
        self._undecided = kind == "auto" and not items
        self._key = digest_key
        self._seen_swaps = False
        # What each file said when it was last understood, by path, and what they said together.
        self._said: dict[str, _Said] = {}
        self._together: dict[str, Mapping[str, Any]] = dict.fromkeys(_PARTS, EMPTY)
        self._answered = NOTHING

    def fingerprint(self) -> Hashable:
        """The target of ``..data``, or the files' inodes, times and sizes; raises as ``read`` does."""
        return fingerprint(self.path, expect_swaps=self._seen_swaps)

    def read(self, previous: Content) -> Content:
        """One whole generation; a file that can't be read or understood says what it said last."""
        generation = read_generation(self.path, self._take_large, expect_swaps=self._seen_swaps)
        self.swapped = generation.swapped_ns is not None
        self._seen_swaps = self._seen_swaps or self.swapped
        if self._undecided and _looks_downward(generation.files):
            self._undecided, self._downward = False, True
        faults: list[str] = []
        unreadable: list[str] = []
        said = self._listen(generation, faults, unreadable)
        together = self._put_together(said)
        if previous is not self._answered:  # somebody else's reading: what is equal is shared all the same
            for part, values in together.items():
                before = getattr(previous, part)
                together[part] = before if before == values else values
        self._said, self._together = said, together
        self._answered = Content(
            **together,
            swapped_ns=generation.swapped_ns,
            fingerprint=generation.fingerprint,
            faults=tuple(faults),
            unreadable=tuple(unreadable),
        )
        return self._answered

    def _listen(
        self, generation: Generation[bytes | Digest], faults: list[str], unreadable: list[str]
    ) -> dict[str, _Said]:
        """What each file says; the same object as last time where it says the same."""
        before = self._said
        now: dict[str, _Said] = {}
        for path, content in generation.files.items():
            said = before.get(path)
            # Most swaps change one file of several: equal bytes needn't be understood again.
            if said is None or said.raw is None or said.raw != content:
                try:
                    fresh = self._understand(path, content)
                except DecodeError as error:
                    faults.append(f"{printable(self.path)}/{error}; its last good values are kept")
                    if said is None:
                        continue
                else:
                    if said is not None and said.key == fresh.key and said.value == fresh.value:
                        said.raw = fresh.raw
                    else:
                        said = fresh
            now[path] = said
        for path, reason in generation.denied.items():
            unreadable.append(explain(reason, self._real_path(path)))
            now.update(
                {old: said for old, said in before.items() if old == path or old.startswith(f"{path}/")}
            )
        return now

    def _put_together(self, now: Mapping[str, _Said]) -> dict[str, Mapping[str, Any]]:
        """The parts of a snapshot; those in which nothing changed are the same objects as last time."""
        before = self._said
        differing = {said.part for path, said in now.items() if before.get(path) is not said}
        differing |= {said.part for path, said in before.items() if now.get(path) is not said}
        together = dict(self._together)
        for part in differing:
            values = _merged([now[path] for path in self._in_order(now) if now[path].part == part])
            if values != together[part]:
                together[part] = values
        return together

    def _in_order(self, paths: Iterable[str]) -> list[str]:
        """Who is to speak first where two files carry one key: what was declared, then by path."""
        return sorted(paths, key=lambda path: (path not in self._declared, path))

    def _understand(self, path: str, content: bytes | Digest) -> _Said:
        """What a file says by its declaration, else by its name and form. Raises DecodeError."""
        item = self._items.get(path) if self._downward else None
        if isinstance(content, Digest):
            if item is not None:
                raise DecodeError("longer than 16 MiB, which the kubelet never writes", file=printable(path))
            return _Said("files", f"{self.name}/{path}", content)
        if item is None and self._downward and path in BY_FILE:
            known, fits = BY_FILE[path]
            item = known if fits(_text(content)) else None
        if item is None:
            digest = blake2b(content, key=self._key, digest_size=_DIGEST_BYTES).digest()
            return _Said("files", f"{self.name}/{path}", Digest(digest))
        if item.field in _WHOLE:
            values = decode(content, printable(path))
            return _Said(_WHOLE[item.field], "", MappingProxyType(values), content)
        if item.resource is None:
            return _Said("fields", item.key, _text(content), content)
        number = _text(content).removesuffix("\n")  # the kubelet writes none, an editor does
        if not is_integer(number):
            raise DecodeError(
                "no bare integer, as the kubelet writes resources", file=printable(path), line=1
            )
        return _Said("resources", item.key, Resource(int(number), item.divisor), content)

    def _take_large(self, file: int, path: str, chunk: bytes) -> bytes | Digest:
        """The whole of a file that may be metadata; of any other, and of one too long, only the digest."""
        if path in self._items:
            chunks = [chunk]
            while len(chunks) * _CHUNK <= _LONGEST and (chunk := os.read(file, _CHUNK)):
                chunks.append(chunk)
            chunk = b"".join(chunks)
            if len(chunk) <= _LONGEST:
                return chunk
        digest = blake2b(chunk, key=self._key, digest_size=_DIGEST_BYTES)
        while chunk := os.read(file, _CHUNK):
            digest.update(chunk)
        return Digest(digest.digest())

    def _real_path(self, path: str) -> str:
        return f"{self.path}/..data/{path}" if self.swapped else f"{self.path}/{path}"


class _Said:
    """What one file says: a value of a part of a snapshot."""

    __slots__ = ("key", "part", "raw", "value")

    def __init__(self, part: str, key: str, value: Any, raw: bytes | None = None) -> None:
        self.part = part
        self.key = key
        """Empty where the value is the whole part."""
        self.value = value
        self.raw = raw
        """The bytes that it was understood from; None of anything but metadata."""


def _merged(said: Iterable[_Said]) -> Mapping[str, Any]:
    """Together; the first to carry a key has it."""
    whole: list[_Said] = []
    values: dict[str, Any] = {}
    for one in said:
        if not one.key:
            whole.append(one)
        else:
            values.setdefault(one.key, one.value)
    if len(whole) == 1:
        return whole[0].value or EMPTY
    for one in whole:
        values = {**one.value, **values}
    return MappingProxyType(values) if values else EMPTY


def _looks_downward(files: Mapping[str, bytes | Digest]) -> bool:
    """Whether ``labels`` or ``annotations`` is there and decodes whole."""
    for name in _BY_CONVENTION:
        content = files.get(name)
        if isinstance(content, bytes):
            try:
                decode(content, name)
            except DecodeError:
                continue
            return True
    return False


def _text(content: bytes) -> str:
    return content.decode("utf-8", "surrogateescape")
