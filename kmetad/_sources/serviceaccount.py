"""The service account's mount: namespace, CA and token.

To the watcher it is a source, of which no value stays: of the token only expiry, audiences and a keyed
digest do. Who calls the API server needs them themselves (``read_mount``).
"""

from __future__ import annotations

import os
from _blake2 import blake2b
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from kmetad._sources.content import Content
from kmetad._sources.generation import fingerprint, read_generation
from kmetad._sources.items import is_namespace
from kmetad._sources.permissions import explain, printable
from kmetad.errors import SourceUnreadable
from kmetad.metadata import EMPTY, Digest, Token

DIRECTORY = "/var/run/secrets/kubernetes.io/serviceaccount"

_CHUNK = 64 * 1024
_LONGEST = 1 << 20  # Kubernetes' own limit of a Secret or ConfigMap

V = TypeVar("V")


class ServiceAccount:
    """A Source. A file that is empty or half-written is a fault, and the value before stays."""

    def __init__(self, name: str, path: str, digest_key: bytes) -> None:
        self.name = name
        self.path = path
        self.swapped = True
        self._key = digest_key
        self._seen_swaps = False

    def fingerprint(self) -> Hashable:
        """The target of ``..data``; raises as ``read`` does."""
        return fingerprint(self.path, expect_swaps=self._seen_swaps)

    def read(self, previous: Content) -> Content:
        """One whole generation; files other than the three are nothing to it."""
        generation = read_generation(self.path, _take_large, expect_swaps=self._seen_swaps)
        self.swapped = generation.swapped_ns is not None
        self._seen_swaps = self._seen_swaps or self.swapped
        faults: list[str] = []
        unreadable: list[str] = []

        def part(
            file: str, key: str, before: Mapping[str, V], understand: Callable[[bytes], V | None], what: str
        ) -> Mapping[str, V]:
            if file in generation.denied:
                below = "..data/" if self.swapped else ""
                unreadable.append(explain(generation.denied[file], f"{self.path}/{below}{file}"))
                return before
            content = generation.files.get(file)
            if content is None:
                return EMPTY
            value = understand(content)
            if value is None:
                faults.append(f"{printable(self.path)}/{file}: {what}; the one before is kept")
                return before
            return before if before.get(key) == value and len(before) == 1 else MappingProxyType({key: value})

        return Content(
            tokens=part(
                "token", self.name, previous.tokens, self._token, "no whole token (empty, or half-written)"
            ),
            trust=part("ca.crt", self.name, previous.trust, self._trust, "empty"),
            fields=part(
                "namespace", "metadata.namespace", previous.fields, _namespace, "no namespace's name"
            ),
            swapped_ns=generation.swapped_ns,
            fingerprint=generation.fingerprint,
            faults=tuple(faults),
            unreadable=tuple(unreadable),
        )

    def _token(self, content: bytes) -> Token | None:
        claims = _claims(content)
        return None if claims is None else _token_of(claims, self._digest(content))

    def _trust(self, content: bytes) -> Digest | None:
        return self._digest(content) if content.strip() else None

    def _digest(self, content: bytes) -> Digest:
        return Digest(blake2b(content, key=self._key, digest_size=16).digest())


class Secret(str):
    """A text that no message shows: not by ``repr``, and so in no traceback's or test's list of values."""

    __slots__ = ()

    def __repr__(self) -> Literal["<secret>"]:
        return "<secret>"


@dataclass(frozen=True, slots=True, repr=False)
class Mount:
    """What a mount holds, for whoever calls the API server. It has no ``repr``: this is a secret."""

    token: Secret = Secret()
    claims: Token | None = None
    """What the token says of itself."""
    ca: bytes = b""
    """Certificates in PEM."""
    namespace: str = ""


def read_mount(path: str, before: Mount, seen: Hashable) -> tuple[Mount, Hashable] | None:
    """One whole generation and its fingerprint; None if that is still ``seen``.

    What is empty, half-written or can't be read is as in ``before``. Raises SourceLost, and SourceUnreadable
    also for a token or CA that can't be read and wasn't before.
    """
    if seen is not None and fingerprint(path, expect_swaps=isinstance(seen, str)) == seen:
        return None
    generation = read_generation(path, _take_large, expect_swaps=isinstance(seen, str))
    files = generation.files
    for file, known in (("token", before.token), ("ca.crt", before.ca)):
        if file in generation.denied and not known:
            raise SourceUnreadable(explain(generation.denied[file], f"{path}/{file}"))
    token = files.get("token", b"").strip()
    claims = claims_of(token)
    ca = files.get("ca.crt", b"")
    return Mount(
        token=before.token if claims is None else Secret(token.decode("ascii", "replace")),
        claims=claims or before.claims,
        ca=ca if ca.strip() else before.ca,
        namespace=_namespace(files.get("namespace", b"")) or before.namespace,
    ), generation.fingerprint


def _take_large(file: int, _path: str, chunk: bytes) -> bytes:
    chunks = [chunk]
    size = len(chunk)
    while size < _LONGEST and (chunk := os.read(file, _CHUNK)):
        chunks.append(chunk)
        size += len(chunk)
    return b"".join(chunks)


def _namespace(content: bytes) -> str | None:
    name = content.decode("utf-8", "surrogateescape")
    return name if is_namespace(name) else None


def claims_of(token: bytes) -> Token | None:
    """What a token says of itself, unverified; None if it is no whole one, or opaque."""
    claims = _claims(token)
    return None if claims is None else _token_of(claims, Digest(b""))


def _token_of(claims: Mapping[str, Any], digest: Digest) -> Token:
    own = claims.get("kubernetes.io")
    times = [claims.get("exp"), own.get("warnafter") if isinstance(own, dict) else None]
    # Seconds since the epoch, perhaps with a fraction (RFC 7519, NumericDate).
    known = [int(time) for time in times if isinstance(time, (int, float)) and abs(time) < 2**53]
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    return Token(min(known, default=None), tuple(name for name in audiences if isinstance(name, str)), digest)


def _claims(token: bytes) -> dict[str, Any] | None:
    """What a token says of itself (RFC 7519); None if it is no whole one. Its signature isn't checked."""
    from json import loads  # most of what a Pod runs has a token; but not all

    parts = token.strip().split(b".")
    if len(parts) != 3 or not all(parts):
        return None
    payload = parts[1].translate(bytes.maketrans(b"-_", b"+/"))
    try:
        claims = loads(a2b_base64(payload + b"=" * (-len(payload) % 4)))
    except (Base64Error, ValueError, RecursionError):
        return None  # the exceptions hold what they failed at, so none leaves this function
    return claims if isinstance(claims, dict) else None
