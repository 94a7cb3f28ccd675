"""A request, and its answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from kmetad.api.credentials import NO_HEADERS
from kmetad.api.objects import Object, parse

PATCHES: Mapping[str, str] = {
    "merge": "application/merge-patch+json",
    "strategic": "application/strategic-merge-patch+json",
    "json": "application/json-patch+json",
    "apply": "application/apply-patch+yaml",
}
"""How an object may be changed in part, and the content type that says so."""


class Request(NamedTuple):
    """What is asked, but for where and as whom."""

    method: str
    path: str
    """With its query."""
    body: bytes = b""
    headers: Mapping[str, str] = NO_HEADERS

    def __str__(self) -> str:
        """For messages: without the query, which may hold anything."""
        return f"{self.method} {self.path.partition('?')[0]}"

    @property
    def repeatable(self) -> bool:
        """Whether doing it twice comes to the same as once, as far as anybody can tell (RFC 9110 9.2.2)."""
        if self.method == "PATCH":  # of a JSON patch nobody can
            return self.headers.get("Content-Type") != PATCHES["json"]
        return self.method not in ("POST", "DELETE")  # the second would find that there is nothing


class Answer(NamedTuple):
    """What the server answered, whole."""

    status: int
    headers: Mapping[str, str]
    """By name in lower case."""
    body: bytes

    def json(self) -> Object:
        """The body as an object of JSON. Raises BadAnswer."""
        return parse(self.body, "the answer")


_WARNING = re.compile(r'299 \S+ "((?:[^"\\]|\\.)*)"')
"""RFC 7234 5.5, as k8s.io/apiserver writes it (net/http/warning): several may stand in one header."""


def warnings(headers: Iterable[str]) -> Iterator[str]:
    """What the server warns of, as of a field that it doesn't know, or a version that will go."""
    for header in headers:
        for found in _WARNING.finditer(header):
            yield re.sub(r"\\(.)", r"\1", found[1])
