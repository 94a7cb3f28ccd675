"""The service account's mount: namespace, CA and token.

The token's value never stays: of it, only expiry, audiences and a keyed digest do.
"""

from __future__ import annotations

from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Hashable
from types import MappingProxyType
from typing import Any

from _blake2 import blake2b

from kmetad._sources.content import Content
from kmetad._sources.generation import explain, fingerprint, read_generation
from kmetad._sources.items import is_namespace
from kmetad.metadata import EMPTY, Digest, Token

DIRECTORY = "/var/run/secrets/kubernetes.io/serviceaccount"

_LONGEST = 1 << 20


class ServiceAccount:
    """A Source. A token that is empty or half-written is a fault, and the one before stays."""

    def __init__(self, name: str, path: str, digest_key: bytes) -> None:
        self.name = name
        self.path = path
        self.swapped = True
        self._key = digest_key
        self._seen_swaps = False

    def fingerprint(self) -> Hashable:
        return fingerprint(self.path, expect_swaps=self._seen_swaps)

    def read(self, previous: Content) -> Content:
        generation = read_generation(self.path, _take, expect_swaps=self._seen_swaps)
        self.swapped = generation.swapped_ns is not None
        self._seen_swaps = self._seen_swaps or self.swapped
        faults: list[str] = []
        unreadable: list[str] = []
        files: dict[str, bytes] = {}
        for path, content in sorted(generation.files.items()):
            if isinstance(content, OSError):
                status = content.filename2 if not isinstance(content.filename2, (str, bytes, type(None))) else None
                unreadable.append(explain(content, path, status))
            elif isinstance(content, bytes):
                files[path] = content
        tokens, trust, fields = previous.tokens, previous.trust, previous.fields
        if "token" in files:
            token = _token(files["token"], self._digest(files["token"]))
            if token is None:
                faults.append("token: no whole token (empty, or half-written); the one before is kept")
            else:
                tokens = _share(self.name, token, previous.tokens)
        elif "token" not in generation.files:
            tokens = EMPTY
        if "ca.crt" in files:
            trust = _share(self.name, self._digest(files["ca.crt"]), previous.trust)
        elif "ca.crt" not in generation.files:
            trust = EMPTY
        namespace = files.get("namespace", b"").decode("utf-8", "surrogateescape")
        if is_namespace(namespace):
            fields = _share("metadata.namespace", namespace, previous.fields)
        elif "namespace" not in generation.files:
            fields = EMPTY
        return Content(
            tokens=tokens,
            trust=trust,
            fields=fields,
            swapped_ns=generation.swapped_ns,
            fingerprint=generation.fingerprint,
            faults=tuple(faults),
            unreadable=tuple(unreadable),
        )

    def _digest(self, content: bytes) -> Digest:
        return Digest(blake2b(content, key=self._key, digest_size=16).digest())


def _take(file: int, _path: str) -> bytes:
    import os

    return os.read(file, _LONGEST)


def _token(value: bytes, digest: Digest) -> Token | None:
    """What a token says of itself (RFC 7519); None if it is no whole one. Its signature isn't checked."""
    from json import loads

    parts = value.strip().split(b".")
    if len(parts) != 3 or not all(parts):
        return None
    payload = parts[1].translate(bytes.maketrans(b"-_", b"+/"))
    try:
        claims = loads(a2b_base64(payload + b"=" * (-len(payload) % 4)))
    except (Base64Error, ValueError, RecursionError):
        return None
    if not isinstance(claims, dict):
        return None
    own = claims.get("kubernetes.io")
    times = [claims.get("exp"), own.get("warnafter") if isinstance(own, dict) else None]
    known = [int(time) for time in times if isinstance(time, (int, float)) and abs(time) < 2**53]
    audience: Any = claims.get("aud", [])
    audiences = (audience,) if isinstance(audience, str) else audience if isinstance(audience, list) else ()
    return Token(min(known, default=None), tuple(a for a in audiences if isinstance(a, str)), digest)


def _share(key: str, value: Any, previous: Any) -> Any:
    return previous if previous.get(key) == value and len(previous) == 1 else MappingProxyType({key: value})
