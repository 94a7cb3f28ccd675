"""Bytes in, requests out: what llhttp, the parser of Node.js, makes of what a client sends.

It is strict: line ends without CR, folded headers, a body that is framed twice or oddly are errors. What it lets
pass and nobody needs is refused here.
"""

from __future__ import annotations

from collections import deque

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpRequestParser

from kmetad_ambassador.headers import Headers
from kmetad_ambassador.incoming import Incoming
from kmetad_ambassador.refusal import Refusal

_AT_ONCE = 4096
"""Bytes that the parser gets at once, where requests may be in it."""
_LINE = 32
"""What a request's first line has beside the target, at most, and the line that ends a head."""
_CHUNK = 8
"""Bytes that a byte of a body in chunks may take."""


class Reader:
    """One client's requests. ``max_head``: bytes of the first line and headers; ``max_body``: of the body."""

    def __init__(self, max_head: int, max_body: int) -> None:
        self.waiting: deque[Incoming] = deque()
        """Requests whose head is there, in order."""
        self.arriving: Incoming | None = None
        """The one whose body hasn't come whole."""
        self.fault: Refusal | None = None
        """Why no further request can be read."""
        self.in_head = False
        """Whether a head has begun, and isn't whole."""
        self.heads = 0
        """How many have begun."""
        self.switching = False
        """Whether another protocol was asked for: what comes isn't HTTP."""
        self.ahead = b""
        """What nobody has looked at: the rest of what came behind a request that waits, or was for a switch."""
        self._max_head = max_head
        self._max_body = max_body
        self._parser = HttpRequestParser(self)
        self._target = b""
        self._headers: Headers = []
        self._size = 0
        """Of the head, as far as it is there."""
        self._raw = 0
        """Bytes that came for what isn't there yet."""

    def feed(self, data: bytes) -> None:
        """More of them."""
        self.ahead = self.ahead + data if self.ahead else data
        self.advance()

    def advance(self) -> None:
        """Read on until a request waits, or all is read.

        What can't be read is told by ``fault``, and by that of the request whose body it is.
        """
        while self.ahead and not (self.waiting or self.switching or self.fault):
            # The parser can't be stopped behind a request: many may be in what it gets.
            size = _AT_ONCE if self.arriving is None else max(_AT_ONCE, self._left)
            data, self.ahead = self.ahead[:size], self.ahead[size:]
            again = self._parse(data)
            if again:
                self.ahead = again + self.ahead

    @property
    def held(self) -> int:
        """Bytes that nobody has taken yet."""
        return len(self.ahead) + (len(self.arriving.body) if self.arriving is not None else 0)

    @property
    def _left(self) -> int:
        """Bytes that the body lacks, as far as it was told."""
        request = self.arriving
        return 0 if request is None else (request.length or 0) - request.size

    # -- what the parser tells -----------------------------------------------------------

    def on_message_begin(self) -> None:
        """A new request."""
        self._target = b""
        self._headers = []
        self._size = self._raw = 0
        self.heads += 1
        self.in_head = True

    def on_url(self, part: bytes) -> None:
        """Its target, or a part of it."""
        self._target += part
        self._measure(len(part))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One of its headers."""
        if self.arriving is not None:
            return  # a trailer, which is nobody's to rely on
        self._headers.append((name.lower(), value))
        self._measure(len(name) + len(value) + 4)

    def on_headers_complete(self) -> None:
        """Its head has come."""
        parser = self._parser
        self.in_head = False
        self._raw = 0
        self.arriving = made = Incoming(
            parser.get_method().decode("ascii"),
            self._target,
            parser.get_http_version(),
            self._headers,
            switches=parser.should_upgrade(),
        )
        # One that speaks HTTP/1.0 would have to be told that it is kept (RFC 9112, 9.3).
        made.keep_alive = parser.should_keep_alive() and made.version == "1.1" and made.protocol is None
        if made.version == "1.0":
            made.noted.pop(b"expect", None)  # RFC 9110, 10.1.1
        made.fault = made.fault_of_head()
        if made.fault is None and (made.length or 0) > self._max_body:
            made.fault = self._body_too_long()
        self.waiting.append(made)

    def on_body(self, data: bytes) -> None:
        """A piece of its body."""
        request = self.arriving
        assert request is not None
        request.size += len(data)
        if request.size <= self._max_body:
            request.body += data
        elif request.fault is None:
            request.fault = self._body_too_long()

    def on_message_complete(self) -> None:
        """Its end has come."""
        if self.arriving is not None:
            self.arriving.complete = True
            self.arriving = None

    # -- inside --------------------------------------------------------------------------

    def _parse(self, data: bytes) -> bytes:
        """Answers what is to be parsed anew."""
        heads, in_body = self.heads if self.in_head else 0, self.arriving
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade as switch:
            return self._switch(data[switch.args[0] :])
        except HttpParserError as error:
            self._refuse(error)
            return b""
        if self.in_head:
            if heads == self.heads:
                # Of a header that doesn't end the parser tells nothing.
                self._raw += len(data)
                if self._raw > self._max_head + _LINE:
                    self.fault = self._too_long()
        elif in_body is not None and in_body is self.arriving:
            # Nor of chunks and trailers that don't end. The smallest chunk takes six bytes for one.
            self._raw += len(data)
            if self._raw > self._max_head + _CHUNK * in_body.size:
                self.fault = in_body.fault = Refusal(400, "request", "too little of the body is content")
        return b""

    def _switch(self, rest: bytes) -> bytes:
        """The parser stops behind a request for another protocol. One that isn't known is ignored (RFC 9110, 7.8)."""
        request = self.waiting[-1]
        if request.protocol is not None or b"upgrade" not in request.noted:  # which is CONNECT
            self.switching = True
            return rest
        self.waiting.pop()
        self._parser = HttpRequestParser(self)
        lines = [b"%s: %s\r\n" % each for each in request.headers if each[0] != b"upgrade"]
        first = f"{request.method} ".encode() + request.target + f" HTTP/{request.version}\r\n".encode()
        return b"".join((first, *lines, b"\r\n", rest))

    def _refuse(self, error: HttpParserError) -> None:
        fault = error.__context__
        if isinstance(error, HttpParserCallbackError) and not isinstance(fault, Refusal):
            raise fault or error
        if not isinstance(fault, Refusal):
            fault = Refusal(400, "request", f"this is no HTTP/1.1 as RFC 9112 has it: {error}")
        if self.arriving is not None:
            self.arriving.fault = fault
        self.fault = fault

    def _measure(self, size: int) -> None:
        self._size += size
        if self._size > self._max_head:
            raise self._too_long()

    def _too_long(self) -> Refusal:
        return Refusal(
            431,
            "limit",
            f"the request's first line and headers have more than {self._max_head} bytes (--max-head)",
        )

    def _body_too_long(self) -> Refusal:
        return Refusal(413, "limit", f"the request's body has more than {self._max_body} bytes (--max-body)")
