"""What a request has to pass before anything is sent: all checks, in their order."""

from __future__ import annotations

import hmac
import os
from dataclasses import dataclass

from kmetad_ambassador.asked import Asked, asked
from kmetad_ambassador.incoming import Incoming
from kmetad_ambassador.options import Options
from kmetad_ambassador.refusal import Refusal
from kmetad_ambassador.rules import THROUGH
from kmetad_ambassador.target import Target, canonical

SWITCHING = THROUGH | {"log"}
"""Subresources for which the API server switches to SPDY or WebSocket."""
_LONGEST_TOKEN = 8192
"""Bytes of a token's file that are read."""


@dataclass(frozen=True, slots=True)
class Passed:
    """A request, as it may be sent on."""

    asked: Asked
    target: Target
    """Exactly what was checked."""


class Gate:
    """The checks of a proxy, as its options have them."""

    def __init__(self, options: Options) -> None:
        self._checks = not options.disable_filter
        self._filter = options.filter()
        self._policy = options.policy()
        self._prefix = options.api_prefix
        # As kubectl proxy has it: /api… is no prefix to be taken away, but all that there is.
        self._strips = self._prefix != "/" and not self._prefix.startswith("/api")
        self._token = None if options.token_file is None else LocalToken(options.token_file)

    def admit(self, request: Incoming) -> None:
        """Raises Refusal for whom nothing is told."""
        if request.fault is not None:
            raise request.fault
        if self._checks:
            self._filter.check_host(
                request.header(b"host"), request.header(b"origin"), request.header(b"sec-fetch-site")
            )
        if self._token is not None:
            self._token.check(request.noted.get(b"authorization", b""))

    def read(self, request: Incoming) -> Passed:
        """What it asks for. Raises Refusal for what can't be understood."""
        target = self._within(canonical(request.target))
        return Passed(asked(request.method, target), target)

    def check(self, request: Incoming, passed: Passed) -> None:
        """Raises Refusal for what isn't allowed."""
        if self._checks:
            self._filter.check(request.method, passed.target.path)
            self._policy.check(passed.asked)
            if request.protocol is not None:
                _may_switch(passed.asked)

    def _within(self, target: Target) -> Target:
        """As the server knows it, without the prefix."""
        prefix = self._prefix
        if prefix == "/":
            return target
        if not target.path.startswith(prefix):
            raise Refusal(404, "target", f"only what is below {prefix} is served here")
        return target._replace(path=target.path[len(prefix) - 1 :]) if self._strips else target


def _may_switch(terms: Asked) -> None:
    """What leads into something by a switch of protocol has to be known as such: an API of its own may have others.

    Raises Refusal.
    """
    if terms.verb not in ("list", "watch", "proxy") and terms.subresource not in SWITCHING:
        what = f"{terms.resource}/{terms.subresource}" if terms.subresource else terms.resource or terms.path
        raise Refusal(
            403,
            "rule",
            f"no switch to another protocol is allowed for {what}, but for lists, watches, and the subresources "
            f"{', '.join(sorted(SWITCHING))}",
        )


class LocalToken:
    """What clients have to send. The file is read again when it is another one."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._seen: object = None
        self._token = b""

    def check(self, authorization: bytes) -> None:
        """Raises Refusal."""
        token = self._read()
        kind, _, given = authorization.partition(b" ")
        if kind.lower() != b"bearer" or not hmac.compare_digest(given.strip(b" \t"), token):
            raise Refusal(
                401,
                "token",
                "this proxy wants its own bearer token (--token-file): `Authorization: Bearer …`",
            )

    def _read(self) -> bytes:
        try:
            there = os.stat(self._path)
            seen = (there.st_dev, there.st_ino, there.st_mtime_ns, there.st_size)
            if seen != self._seen:
                with open(self._path, "rb") as file:
                    self._token = file.read(_LONGEST_TOKEN).strip()
                self._seen = seen
        except OSError as error:
            raise Refusal(
                503, "token", f"{self._path}, which holds clients' token: {error.strerror}"
            ) from None
        if not self._token:
            raise Refusal(
                503, "token", f"{self._path} is empty, so there is no token that clients could send"
            )
        return self._token
