"""An HTTP request: to an app that is reloaded that way, or that says whether it was.

Values that whoever may patch the Pod has written can stand in the query, percent-encoded; in
``json``, encoded; in ``body``, if they hold no control character; never in a header or in the URL before
the ``?``. Redirects aren't followed, and no proxy of the environment is used: what is reloaded is near.
"""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote, urlsplit

import msgspec

from kmetad import Fail, Snapshot
from kmetad.errors import FieldMissing
from kmetad.template import Template, parse_template

if TYPE_CHECKING:
    from http.client import HTTPConnection

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110, 5.6.2
_FIELD = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_OURS = ("content-length", "transfer-encoding", "connection")
_MOST = 64 * 1024
"""Bytes of an answer that are looked at."""
_SAID = 200
"""Characters of it that are told where it is a refusal."""


class Http(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request, and what counts as a success."""

    url: str
    """``http://`` or ``https://``; the part behind ``?`` may hold placeholders."""
    method: str | None = None
    """None: POST; GET where something is only asked for."""
    headers: dict[str, str] = {}
    """By name; taken literally."""
    body: str | None = None
    """A text with placeholders."""
    json: Any = None
    """A value whose texts may hold placeholders."""
    status: list[int] | None = None
    """None: 200 to 299."""
    contains: str | None = None
    """What the answer has to hold in its first 64 KiB; with placeholders."""
    unix: str | None = None
    """The path of a socket."""
    ca: str | None = None
    """A file: whom to trust, for https."""
    cert: str | None = None
    """A file: a certificate of our own."""
    key: str | None = None
    """A file: its key."""
    timeout: timedelta | None = None
    """None: what is left of the lane's."""

    def __post_init__(self) -> None:
        _check_url(self.url, self.unix)
        if self.method is not None and not _TOKEN.fullmatch(self.method):
            raise ValueError(f"method: {self.method!r} is none, such as POST")
        for name, value in self.headers.items():
            if not _TOKEN.fullmatch(name) or not _FIELD.fullmatch(value):
                raise ValueError(f"headers: {name!r} or its value holds what no header can")
            if name.lower() in _OURS:
                raise ValueError(f"headers: {name} is not yours to set; it follows from what is sent")
        if self.body is not None and self.json is not None:
            raise ValueError("body and json exclude each other")
        for status in self.status or ():
            if not 100 <= status <= 599:
                raise ValueError(f"status: {status} is none")
        if self.status == []:
            raise ValueError("status: no answer would do; name at least one, or leave it out")
        if self.unix is not None and not self.unix.startswith("/"):
            raise ValueError("unix: expected the absolute path of a socket")
        if not self.url.startswith("https:") and (self.ca or self.cert or self.key):
            raise ValueError("ca, cert and key are for https")
        if self.key and not self.cert:
            raise ValueError("key is for a cert; set that as well")
        if self.timeout is not None and self.timeout <= timedelta():
            raise ValueError("timeout has to be more than nothing")
        for text in (_query(self.url), self.body, self.contains, *_texts(self.json)):
            if text is not None:
                parse_template(text)


def call(http: Http, snapshot: Snapshot, seconds: float, *, method: str = "POST") -> str:
    """Send it and take the answer, within so many seconds in all. Answers what came of it; raises Fail.

    ``method``: where ``http`` has none.
    """
    import http.client as client  # with the first that is sent: most pods send none

    method = http.method or method
    if http.timeout is not None:
        seconds = min(seconds, http.timeout.total_seconds())
    name = f"{method} {_shown(http)}"
    target, headers, body, contains = _filled(http, snapshot, name)
    connection = _connection(http, seconds, name)
    try:
        with _ended_at(connection, seconds) as deadline:
            try:
                if http.unix is not None:
                    connection.sock = _connected(http.unix, seconds)
                connection.request(method, target, body, headers)
                with connection.getresponse() as answer:
                    data = answer.read(_MOST)
                    missing = answer.length
                if missing and len(data) < _MOST:
                    raise client.IncompleteRead(b"", missing)
            except (OSError, client.HTTPException, ValueError) as error:
                if deadline.passed:
                    raise Fail(f"{name}: no whole answer within {seconds:.3g} s") from None
                _explain(name, http, error)
        if deadline.passed:
            raise Fail(f"{name}: no whole answer within {seconds:.3g} s")
    finally:
        connection.close()
    said = f"{answer.status} {_printable(answer.reason)}".rstrip()
    if not (answer.status in http.status if http.status is not None else 200 <= answer.status < 300):
        raise Fail(f"{name}: answered {said}{_why(answer.status, answer.getheader('Location'), data)}")
    if contains is not None and contains not in data:
        raise Fail(f"{name}: answered {said}, but the answer doesn't hold what `contains` asks for")
    return f"{name}: {said}"


def describe(http: Http, snapshot: Snapshot, *, method: str = "POST") -> str:
    """What would be sent; of headers only the names."""
    method = http.method or method
    try:
        target, _, body, contains = _filled(http, snapshot, f"{method} {_shown(http)}")
    except Fail as fail:
        return f"send nothing: {fail.reason}"
    parts = urlsplit(http.url)
    sentence = f"{method} {parts.scheme}://{parts.netloc.rpartition('@')[2]}{target}"
    if http.unix is not None:
        sentence += f" over {http.unix}"
    if body is not None:
        sentence += f" with {body.decode('utf-8', 'replace')}"
    if contains is not None:
        sentence += f", whose answer has to hold {contains.decode('utf-8', 'replace')!r}"
    return sentence


# -- what is sent --------------------------------------------------------------------


def _filled(
    http: Http, snapshot: Snapshot, name: str
) -> tuple[str, dict[str, str], bytes | None, bytes | None]:
    """Target, headers, body, and what the answer has to hold. Raises Fail."""
    parts = urlsplit(http.url)
    target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    headers = {"User-Agent": "kmetad-reload", **http.headers}
    body: bytes | None = None
    contains: bytes | None = None
    try:
        query = _query(http.url)
        if query is not None:
            target += "?" + parse_template(query).render(snapshot, _encoded)
        if http.json is not None:
            from json import dumps

            body = dumps(_rendered(http.json, snapshot)).encode("ascii")
            if "content-type" not in map(str.lower, headers):
                headers["Content-Type"] = "application/json"
        elif http.body is not None:
            body = _bytes(_plainly(parse_template(http.body), snapshot, name))
        if http.contains is not None:
            contains = _bytes(parse_template(http.contains).render(snapshot))
    except FieldMissing as missing:
        raise Fail(f"{name}: {missing}; it isn't sent", retry=False) from None
    return target, headers, body, contains


def _plainly(template: Template, snapshot: Snapshot, name: str) -> str:
    def one_line(value: str) -> str:
        if any(ord(c) < 32 or ord(c) == 127 for c in value):
            raise Fail(
                f"{name}: a value for the body holds a control character, with which it could forge more than "
                "itself; send it as json, which encodes it",
                retry=False,
            )
        return value

    return template.render(snapshot, one_line)


def _rendered(value: Any, snapshot: Snapshot) -> Any:
    """The same with its texts filled in; keys are as they are."""
    if isinstance(value, str):
        return parse_template(value).render(snapshot)
    if isinstance(value, Mapping):
        return {key: _rendered(part, snapshot) for key, part in value.items()}
    return [_rendered(part, snapshot) for part in value] if isinstance(value, list) else value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, (Mapping, list)):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(part)
    elif not (value is None or isinstance(value, (bool, int, float))):
        raise ValueError("json: a date or time has no form in JSON; write it as a text")


def _encoded(value: str) -> str:
    return quote(_bytes(value), safe="")


def _bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return text.encode("utf-8", "replace")


# -- where to ------------------------------------------------------------------------


def _check_url(url: str, unix: str | None) -> None:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"url: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("url: expected http://HOST… or https://HOST…")
    if parts.scheme == "https" and unix is not None:
        raise ValueError("url: over a Unix socket expected http://")
    if port == 0 or parts.fragment:
        raise ValueError("url: a port is 1 to 65535, and a part behind # isn't sent; remove it")
    if "@" in parts.netloc:
        raise ValueError("url: a user and password don't belong into it; set headers")
    before = url.partition("?")[0]
    if "{" in before or "}" in before:
        raise ValueError(
            "url: a placeholder may stand only behind the '?': a value that somebody else writes never chooses "
            "where a request goes"
        )
    if any(ord(c) <= 32 or ord(c) >= 127 for c in before):
        raise ValueError("url: blanks, control characters and all that isn't ASCII are to be percent-encoded")
    if any(ord(c) <= 32 or ord(c) >= 127 for c in re.sub(r"\{[^}]*\}", "", _query(url) or "")):
        raise ValueError("url: behind the '?', too, what isn't a placeholder is to be percent-encoded")


def _query(url: str) -> str | None:
    _, mark, query = url.partition("?")
    return query if mark else None


def _shown(http: Http) -> str:
    return http.url.partition("?")[0] + (f" over {http.unix}" if http.unix is not None else "")


def _connection(http: Http, seconds: float, name: str) -> HTTPConnection:
    from http.client import HTTPConnection, HTTPSConnection

    parts = urlsplit(http.url)
    assert parts.hostname is not None
    if parts.scheme == "https":
        import ssl

        try:
            context = ssl.create_default_context(cafile=http.ca)  # anew each time: certificates are rotated
            if http.cert is not None:
                context.load_cert_chain(http.cert, http.key)
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(filter(None, (http.ca, http.cert, http.key)))
            raise Fail(f"{name}: {files} can't be loaded: {error.strerror or error}") from None
        return HTTPSConnection(parts.hostname, parts.port, timeout=max(0.001, seconds), context=context)
    return HTTPConnection(parts.hostname, parts.port, timeout=max(0.001, seconds))


def _connected(path: str, seconds: float) -> socket.socket:
    """A connection to the Unix socket of that path."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        made.settimeout(max(0.001, seconds))
        made.connect(path)
    except BaseException:
        made.close()
        raise
    return made


class _Deadline:
    def __init__(self) -> None:
        self.passed = False


@contextmanager
def _ended_at(connection: HTTPConnection, seconds: float) -> Iterator[_Deadline]:
    """After so many seconds the connection is cut, whatever it is at.

    A socket's own time-out begins anew with each byte, so that a server that sends one now and then would
    hold the lane for ever.
    """
    deadline = _Deadline()

    def cut() -> None:
        deadline.passed = True
        if (sock := connection.sock) is not None:
            try:
                # Not ssl's own, which would take the session from under whoever reads from it.
                socket.socket.shutdown(sock, socket.SHUT_RDWR)
            except OSError:
                pass  # it has ended by itself

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield deadline
    finally:
        timer.cancel()


# -- what came of it -----------------------------------------------------------------


def _explain(name: str, http: Http, error: Exception) -> NoReturn:
    """Raises Fail: what went wrong, and what to do."""
    import ssl
    from http.client import BadStatusLine, HTTPException, IncompleteRead, RemoteDisconnected

    reason = f"{type(error).__name__}: {_printable(str(error))[:_SAID]}"
    if isinstance(error, ssl.SSLCertVerificationError):
        remedy = (
            "is ca the file with the authority that signed it?"
            if http.ca
            else "set ca to its authority's file"
        )
        reason = f"its certificate can't be verified ({error.verify_message}); {remedy}"
    elif isinstance(error, ssl.SSLError):
        reason = f"no TLS with it ({error.reason or error}); does it want a certificate (cert, key), or plain http?"
    elif isinstance(error, RemoteDisconnected):
        reason = "it closed the connection without an answer"
    elif isinstance(error, IncompleteRead):
        reason = "it closed the connection in the middle of its answer"
    elif isinstance(error, (HTTPException, ValueError)):
        what = "" if isinstance(error, BadStatusLine) else f" ({type(error).__name__})"
        reason = f"what it answered isn't HTTP{what}; is this the right port?"
    elif isinstance(error, socket.gaierror):
        reason = "its name can't be resolved"
    elif isinstance(error, ConnectionRefusedError):
        reason = "connection refused; is the server up, and listening there?"
    elif isinstance(error, TimeoutError):
        reason = "no answer in time"
    elif isinstance(error, OSError) and error.errno is not None:
        reason = os.strerror(error.errno)
    raise Fail(f"{name}: {reason}") from None


def _why(status: int, location: str | None, data: bytes) -> str:
    """What a refusal says itself, in its first line."""
    if 300 <= status < 400 and location:
        place = urlsplit(location)
        where = (
            f"{place.scheme}://{place.netloc.rpartition('@')[2]}{place.path}" if place.netloc else place.path
        )
        return (
            f", which leads to {_printable(where)[:_SAID]}; redirects aren't followed: name the place itself"
        )
    first = _printable(data.decode("utf-8", "replace").strip().partition("\n")[0])[:_SAID]
    return f": {first}" if first and not first.startswith("<") else ""


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)
