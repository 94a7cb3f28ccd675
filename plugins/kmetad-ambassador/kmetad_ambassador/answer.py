"""An answer of the API server on its way to the client: its headers, its framing, and when it waits for whom."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Literal

from kmetad_ambassador.back import Back
from kmetad_ambassador.front import Front
from kmetad_ambassador.headers import Headers, answer_lines, noted, tokens
from kmetad_ambassador.incoming import Incoming

How = Literal["complete", "unauthorized", "switched", "stale", "broken", "gone", "ended"]
"""
What became of it. ``unauthorized``: it is held, and may be let go. ``stale``: the server closed a connection that was
kept, before it can have seen the request. ``ended``: a watch that was ended here.
"""

_HELD = 65536
"""Bytes of a 401 that are held until it is clear whether there is another token."""
_SAFE = ("GET", "HEAD")
_NO_CONTENT = 204
_NO_BODY = (_NO_CONTENT, 304)
_REASON = re.compile(rb"[\t -~\x80-\xff]*")
"""RFC 9112, 4: what the parser takes for one may hold more."""
_UNAUTHORIZED, _SWITCHED = 401, 101
_FRAMING = (b"connection", b"content-length", b"content-type", b"transfer-encoding", b"upgrade")


class Answer:
    """The answer to one try of a request.

    ``repeatable``: the request is there whole, and can be sent again. ``may_renew``: with another token, after a 401.
    ``closing``: whether the client's connection is to be closed after it.
    """

    def __init__(
        self,
        front: Front,
        request: Incoming,
        back: Back,
        protocol: bytes | None,
        *,
        repeatable: bool,
        may_renew: bool,
        closing: Callable[[], bool],
    ) -> None:
        self.status = 0
        self.sent = 0
        """Bytes of its body."""
        self.begun = False
        """Whether the client has got any of it."""
        self.last = False
        """Whether the client's connection ends with it."""
        self.fault = ""
        self.done: asyncio.Future[How] = asyncio.get_running_loop().create_future()
        self.taking: asyncio.Event | None = None
        """Whether the server takes more of a request that is sent bit by bit."""
        self._front = front
        self._request = request
        self._back = back
        self._protocol = protocol
        self._repeatable = repeatable and request.method in _SAFE
        self._may_renew = may_renew
        self._closing = closing
        self._out: list[bytes] = []
        self._held = self._chunked = self._endless = False
        self._between_events = True
        self._stopped = self._ending = False

    def let_go(self) -> None:
        """What was held is the answer."""
        self._held = False
        self._pass_on()

    def end_early(self) -> None:
        """End it in order between two lines, now or after the next one: a watch between two events."""
        self._ending = True
        if self._endless and self.begun and self._between_events and not self.done.done():
            self._stop("ended")
            self.last = True
            if self._chunked:
                self._front.write(b"0\r\n\r\n")

    # -- what the server says ------------------------------------------------------------

    def head(self, status: int, reason: bytes, headers: Headers) -> None:
        """Its head."""
        framing = noted(headers, _FRAMING)
        upgrade = framing.get(b"upgrade", b"")
        if status == _SWITCHED and not self._asked_for(upgrade, framing.get(b"connection", b"")):
            self.fault = "it switched to a protocol that nobody had asked for"
            self._stop("broken")
            return
        if framing.get(b"transfer-encoding", b"chunked").lower() != b"chunked":
            self.fault = "its answer has a Transfer-Encoding other than chunked"
            self._stop("broken")
            return
        self.status = status
        self._held = status == _UNAUTHORIZED and self._may_renew
        if status == _NO_CONTENT:  # which has no length either (RFC 9110, 8.6)
            headers = [each for each in headers if each[0].lower() != b"content-length"]
        self._out.append(b"HTTP/1.1 %d %s\r\n" % (status, reason if _REASON.fullmatch(reason) else b""))
        self._out += answer_lines(headers, framing.get(b"connection", b""))
        if status == _SWITCHED:
            self._out.append(b"Connection: Upgrade\r\nUpgrade: %s\r\n\r\n" % upgrade)
            return
        bodiless = status in _NO_BODY or self._request.method == "HEAD"
        if not bodiless and b"content-length" not in framing:
            # HTTP/1.0 knows no chunks: there the body ends with the connection.
            # Of protobuf nobody knows where an event ends.
            self._endless = b"protobuf" not in framing.get(b"content-type", b"")
            self._chunked = self._request.version != "1.0"
            self.last = not self._chunked
            if self._chunked:
                self._out.append(b"Transfer-Encoding: chunked\r\n")
        request = self._request
        if self.last or not (request.keep_alive and request.complete) or self._closing():
            self.last = True
            self._out.append(b"Connection: close\r\n")
        self._out.append(b"\r\n")

    def _asked_for(self, upgrade: bytes, connection: bytes) -> bool:
        protocol = self._protocol
        return (
            protocol is not None and upgrade.lower() == protocol.lower() and b"upgrade" in tokens(connection)
        )

    def body(self, data: bytes) -> None:
        """A piece of its body."""
        self.sent += len(data)
        self._between_events = data.endswith(b"\n")
        if self._chunked:
            self._out += (b"%x\r\n" % len(data), data, b"\r\n")
        else:
            self._out.append(data)
        if self._held and self.sent > _HELD:
            self._held = False

    def read(self) -> None:
        """What has come goes to the client at once. The server waits with the rest until the client takes it."""
        if not self._pass_on():
            self._back.line.pause()
        if self._ending:
            self.end_early()

    def end(self) -> None:
        """All of it."""
        if self._chunked:
            self._out.append(b"0\r\n\r\n")
        self._pass_on()  # the connection is another request's by now, and isn't to wait for this client
        if self._held:
            self._finish("unauthorized")
        else:
            self._finish("switched" if self.status == _SWITCHED else "complete")

    def broken(self, fault: str) -> None:
        """The connection to the server broke."""
        self.fault = fault
        unseen = self._back.used and not self._back.said and self._repeatable
        self._held = False
        self._pass_on()
        self._finish("stale" if unseen else "broken")

    def server_ready(self) -> None:
        """The server takes more of the request."""
        if self.taking is not None:
            self.taking.set()

    # -- what the client does ------------------------------------------------------------

    def client_ready(self) -> None:
        """The client takes more."""
        self._back.line.resume()

    def client_gone(self) -> None:
        """Nobody is there to get it."""
        self._stop("gone")

    def _pass_on(self) -> bool:
        """Whether the client takes more."""
        if self._held or not self._out or self._stopped:
            return True
        data = b"".join(self._out)
        self._out.clear()
        self.begun = True
        return self._front.write(data)

    def _stop(self, how: How) -> None:
        """Whatever the server has to say still."""
        if not self.done.done():
            self._stopped = True
            self._back.close()
            self._finish(how)

    def _finish(self, how: How) -> None:
        if not self.done.done():
            self.done.set_result(how)
