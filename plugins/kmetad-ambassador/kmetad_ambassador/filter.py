"""kubectl proxy's regular expressions, with the same meaning, and whether a web page of elsewhere asks.

As k8s.io/kubectl, pkg/proxy/proxy_server.go has them (FilterServer): unanchored; a path or method that one
rejects isn't passed on, whatever accepts it. They are Python's here. What is matched is ASCII without control
characters, so that both languages' ``$`` and ``.`` mean the same.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence

from kmetad_ambassador.refusal import Refusal

_HOST = r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252}[A-Za-z0-9_-])?)(?::[0-9]{0,5})?"
_HOST_HEADER = re.compile(_HOST)
_ORIGIN = re.compile(rf"https?://{_HOST}")

_ALL = frozenset({"", "^", ".*", "^.*", "^/", "^/.*"})
"""Match every path."""
_NONE = frozenset({"^$"})
"""Match no path and no method. kubectl proxy's default for methods."""

_REMEDY = "ask for localhost, or name it in accept_hosts (--accept-hosts)"


class Filter:
    """Which hosts, paths and methods are passed on. Raises ValueError for what is no regular expression.

    Nothing matches an empty list: nothing is accepted by one, and nothing rejected.
    """

    def __init__(
        self,
        accept_hosts: Sequence[str],
        accept_paths: Sequence[str],
        reject_paths: Sequence[str],
        reject_methods: Sequence[str],
    ) -> None:
        self._hosts = _compiled(accept_hosts)
        self._accepted = _compiled(accept_paths)
        self._rejected = _compiled([text for text in reject_paths if text not in _NONE])
        self._methods = _compiled([text for text in reject_methods if text not in _NONE])
        self._idle = not self._rejected and not self._methods and not _ALL.isdisjoint(accept_paths)

    def check_host(self, host: str | None, origin: str | None, fetch_site: str | None) -> None:
        """The headers Host, Origin and Sec-Fetch-Site, each None if it isn't there, and its only one.

        Against DNS rebinding, and against pages of elsewhere: raises Refusal (403, "host" or "origin").
        """
        if host is None:
            raise Refusal(403, "host", f"the request has no Host; {_REMEDY}")
        found = _HOST_HEADER.fullmatch(host)
        if found is None:
            raise Refusal(403, "host", f"the Host {_shown(host)} is {_what_is(host)}; {_REMEDY}")
        if not self._takes(found[1]):
            raise Refusal(403, "host", f"the Host {_shown(host)} isn't accepted; {_REMEDY}")
        if origin is not None:
            self._check_origin(origin)
        if fetch_site not in (None, "same-origin", "none"):
            raise Refusal(
                403,
                "origin",
                f"a web page of another site asks (Sec-Fetch-Site: {_shown(fetch_site or '')}); what isn't a browser "
                "sends no such header",
            )

    def check(self, method: str, path: str) -> None:
        """The method, and the canonical path without ``api_prefix``. Raises Refusal (403, "filter")."""
        if self._idle:
            return
        if not (path.isascii() and path.isprintable() and method.isascii() and method.isprintable()):
            raise Refusal(403, "filter", "the path or the method holds what no request has")
        for pattern in self._rejected:
            if pattern.search(path):
                raise Refusal(403, "filter", _rejected("path", path, "reject_paths", pattern))
        for pattern in self._methods:
            if pattern.search(method):
                raise Refusal(403, "filter", _rejected("method", method, "reject_methods", pattern))
        for pattern in self._accepted:
            if pattern.search(path):
                return
        raise Refusal(
            403,
            "filter",
            f"no expression of accept_paths (--accept-paths) matches the path {_shown(path)}; add one",
        )

    def _check_origin(self, origin: str) -> None:
        if origin == "null":
            raise Refusal(
                403,
                "origin",
                "a web page without an origin asks (Origin: null), as from a file or a sandboxed frame",
            )
        found = _ORIGIN.fullmatch(origin)
        if found is None or not self._takes(found[1]):
            raise Refusal(
                403,
                "origin",
                f"a web page of {_shown(origin)} asks, whose host isn't accepted; if it is to, name its host in "
                "accept_hosts (--accept-hosts)",
            )

    def _takes(self, host: str) -> bool:
        """In any case, since names of hosts have none; an IPv6 address with or without its brackets.

        Go's net.SplitHostPort takes the brackets away where there is a port, so that kubectl proxy's own
        ``^\\[::1\\]$`` doesn't match ``[::1]:8001``.
        """
        spellings = {host, host.lower()}
        if host[0] == "[":
            spellings |= {spelling[1:-1] for spelling in spellings}
        return any(pattern.search(spelling) for pattern in self._hosts for spelling in spellings)


def _compiled(texts: Sequence[str]) -> tuple[re.Pattern[str], ...]:
    patterns = []
    for text in texts:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # [[:alpha:]] would mean something else than in Go
                patterns.append(re.compile(text, re.ASCII))
        except (re.error, RecursionError, OverflowError, Warning) as error:
            raise ValueError(f"{text!r} is no regular expression as Python has them: {error}") from None
    return tuple(patterns)


def _rejected(what: str, value: str, option: str, pattern: re.Pattern[str]) -> str:
    flag = option.replace("_", "-")
    return f"the {what} {_shown(value)} is rejected by {pattern.pattern!a} in {option} (--{flag})"


def _what_is(host: str) -> str:
    """What is wrong with one that isn't even a host."""
    if "," in host or any(character.isspace() for character in host):
        return "more than one, or has spaces"
    if "@" in host:
        return "more than a host: it has a user before it"
    if host.partition(":")[0].endswith("."):
        return "written with a dot at its end, which makes it another name to some; leave out the dot"
    return "no host with a port"


def _shown(text: str) -> str:
    """What a client has sent, in a message: in ASCII, and not too long."""
    return ascii(text if len(text) <= 200 else f"{text[:197]}...")
