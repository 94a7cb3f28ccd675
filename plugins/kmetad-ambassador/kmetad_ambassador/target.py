"""The request target, made canonical once: what is checked is exactly what is sent.

Two readers of one path that disagree are how a request gets past a rule. So nothing is mended here
that could be read in two ways: it is refused. What remains needs no percent-encoding at all, and no
reader has anything left to decode, to resolve or to merge.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from kmetad_ambassador.refusal import Refusal

LONGEST = 4096
"""Bytes of a path, as it is sent here."""

MOST_PARAMETERS = 4096
"""Of a query. Go reads none at all of a query with more than 10,000 (net/url: urlmaxqueryparams), so the API
server would list everything where a field selector is seen here."""

_PLAIN = r"A-Za-z0-9._~!$&'()*+,=:@\-"
"""What a part may hold: RFC 3986's pchar but for ``;``, which some read as the beginning of parameters."""
# Without possessive quantifiers: Python 3.11.2, Debian 12's, gets some of them wrong (gh-100061).
_PART = rf"(?!\.\.?(?:[/?]|\Z))[{_PLAIN}]+"
_CLEAN = re.compile(rf"((?:/{_PART})+/?|/)(?:\?((?:[{_PLAIN}/?]|%[2-7][0-9A-Fa-f])*))?")
"""What almost all requests are: nothing in the path is encoded, and in the query nothing but what ASCII can show."""
_ONE_PART = re.compile(_PART)

_IN_PATH = re.compile(rf"[^{_PLAIN}/%]")
_IN_QUERY = re.compile(rf"[^{_PLAIN}/?%]")
_BROKEN = re.compile(r"%(?![0-9A-Fa-f]{2})")
_ENCODED = re.compile(r"%([0-9A-Fa-f]{2})")
_DECODED = re.compile(rf"[{_PLAIN}]")

_WRITE = "write the path alone, as /api/v1/pods"


class Target(NamedTuple):
    """A request target that has one meaning."""

    path: str
    """Decoded, without ``%``. It begins with ``/`` and has no empty part, ``.`` or ``..``; it may end in ``/``."""
    query: str
    """As it came, without ``?``; empty if there is none."""

    def __repr__(self) -> str:
        """Without the query: its values are nobody's business."""
        return f"Target({self.path!r}, <{len(self.query)} characters>)"

    def raw(self) -> bytes:
        """What is sent."""
        return (f"{self.path}?{self.query}" if self.query else self.path).encode("ascii")


def canonical(raw: bytes) -> Target:
    """The target of a request line. Raises Refusal: 414 for a path that is too long, 400 for all else.

    Origin-form only (RFC 9112 3.2.1). ``canonical(canonical(raw).raw())`` is ``canonical(raw)``.
    """
    text = raw.decode("latin-1")  # a character a byte; none above 127 gets further
    clean = _CLEAN.fullmatch(text)
    if clean is None:
        return _spelt_out(text)
    path, query = clean.groups("")
    if len(path) > LONGEST:
        raise _too_long(path)
    if query:
        _check_count(query)
    return Target(path, query)


def is_part(text: str) -> bool:
    """Whether a canonical path can have this between its slashes."""
    return _ONE_PART.fullmatch(text) is not None


def _spelt_out(text: str) -> Target:
    """The same step by step: with percent-encodings, or to say what is wrong."""
    if not text.startswith("/"):
        raise _no_origin_form(text)
    path, _, query = text.partition("?")
    if len(path) > LONGEST:
        raise _too_long(path)
    if bad := _IN_PATH.search(path):
        raise _bad_character(bad[0], bad.start(), "path")
    if bad := _BROKEN.search(path):
        raise _refusal(
            f"the path has a % at byte {bad.start() + 1} without two hexadecimal digits behind it; leave it out"
        )
    path = _ENCODED.sub(_decoded, path)
    parts = path[1:].removesuffix("/").split("/")
    if "" in parts and path != "/":
        raise _refusal("the path has an empty part (//); write one / between two parts")
    if "." in parts or ".." in parts:
        raise _refusal("the path has a part . or .. that leads to another path; write that path itself")
    _check_query(query, len(text) - len(query))
    return Target(path, query)


def _decoded(found: re.Match[str]) -> str:
    character = chr(int(found[1], 16))
    if _DECODED.fullmatch(character):
        return character
    why = {
        "/": "an encoded slash: some take it for one, others don't; write / where one is meant",
        "\\": "an encoded backslash; write / where one is meant",
        "%": "an encoded % (encoded twice?); encode once, or not at all",
        ";": "an encoded ;, which no path of the API has; leave it out",
        "\0": "an encoded NUL; leave it out",
    }.get(character, "what no path of the API has; leave it out")
    raise _refusal(f"the path holds {found[0]}, {why}")


def _check_query(query: str, start: int) -> None:
    """Raises Refusal where Go's url.ParseQuery and others could read it differently."""
    if bad := _IN_QUERY.search(query):
        raise _bad_character(bad[0], start + bad.start(), "query")
    if bad := _BROKEN.search(query):
        raise _refusal(
            f"the query has a % at byte {start + bad.start() + 1} without two hexadecimal digits behind it; write %25"
        )
    _check_count(query)
    data = unquote_to_bytes(query)
    if b"\0" in data:
        raise _refusal("the query holds %00, which no parameter of the API has; leave it out")
    try:
        data.decode()
    except UnicodeDecodeError:
        raise _refusal("the query's percent-encodings are no UTF-8; encode its text as UTF-8") from None


def _check_count(query: str) -> None:
    if query.count("&") >= MOST_PARAMETERS:
        raise _refusal(f"the query has more than {MOST_PARAMETERS} parameters; send fewer")


def _no_origin_form(text: str) -> Refusal:
    if not text:
        return _refusal(f"the request's target is empty; {_WRITE}")
    if text == "*":
        return _refusal(f"the request's target is *; {_WRITE}")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text):
        return _refusal(
            f"the request's target is a whole URL (is this set as an http_proxy? it is none); {_WRITE}"
        )
    return _refusal(f"the request's target doesn't begin with /; {_WRITE}")


def _bad_character(character: str, at: int, where: str) -> Refusal:
    code = ord(character)
    if character == "#":
        why = "a fragment (#), which is never sent; leave it out"
    elif character == ";" and where == "query":
        why = "a ;, which some take for &; write & between parameters, and %3B for the character"
    elif character == ";":
        why = "a ;, which no path of the API has; leave it out"
    elif character == "\\":
        why = "a backslash; write " + ("%5C" if where == "query" else "/ where one is meant")
    elif code <= 32 or code == 127:
        shown = "a space" if code == 32 else f"the control character 0x{code:02x}"
        why = f"{shown}; " + (f"write %{code:02X}" if where == "query" and code else "leave it out")
    elif code > 127:
        why = f"the byte 0x{code:02x}, which isn't ASCII; " + (
            "write its UTF-8 percent-encoded" if where == "query" else "no path of the API has such"
        )
    elif where == "query":
        why = f"a {character}, which no URL has as it is; write %{code:02X}"
    else:
        why = f"a {character}, which no path of the API has; leave it out"
    return _refusal(f"the {where} holds, at byte {at + 1} of the target, {why}")


def _too_long(path: str) -> Refusal:
    return Refusal(
        414, "target", f"the path has {len(path)} bytes, and at most {LONGEST} are passed on; ask for less"
    )


def _refusal(message: str) -> Refusal:
    return Refusal(400, "target", message)
