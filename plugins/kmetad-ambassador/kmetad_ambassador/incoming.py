"""A request as a client sent it, before anybody has asked what it means."""

from __future__ import annotations

from kmetad_ambassador.headers import Headers, noted, tokens
from kmetad_ambassador.refusal import Refusal

PROTOCOLS = {b"spdy/3.1": b"SPDY/3.1", b"websocket": b"websocket"}
"""What the API server switches to for exec, attach, port-forward, logs and watches, as the header Upgrade has it."""

_NOTED = frozenset(
    {
        b"authorization",
        b"connection",
        b"content-length",
        b"expect",
        b"host",
        b"origin",
        b"sec-fetch-site",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""Headers that are looked at; all others are only passed on."""


class Incoming:
    """A request as it came. Its head is whole; of the body more may follow."""

    __slots__ = (
        "body",
        "complete",
        "fault",
        "headers",
        "keep_alive",
        "method",
        "noted",
        "protocol",
        "size",
        "target",
        "version",
    )

    def __init__(self, method: str, target: bytes, version: str, headers: Headers, *, switches: bool) -> None:
        self.method = method
        self.target = target
        self.version = version
        self.headers = headers
        self.noted = noted(headers, _NOTED)
        switches = switches and version == "1.1"  # RFC 9110, 7.8
        self.protocol = PROTOCOLS.get(self.noted.get(b"upgrade", b"").lower()) if switches else None
        """Which other protocol is asked for; nothing behind the head has been read as HTTP then."""
        self.keep_alive = True
        self.body = bytearray()
        """What has come of it, and nobody has taken yet."""
        self.size = 0
        """Bytes of the body so far."""
        self.complete = False
        self.fault: Refusal | None = None
        """What is wrong with it; of its body, why no more can be read."""

    @property
    def length(self) -> int | None:
        """Of its body; None for one in chunks."""
        if b"transfer-encoding" in self.noted:
            return None
        return int(self.noted.get(b"content-length", b"0"))  # whose form the parser has checked

    def header(self, name: bytes) -> str | None:
        """One of those that are looked at."""
        value = self.noted.get(name)
        return None if value is None else value.decode("latin-1")

    def fault_of_head(self) -> Refusal | None:
        """What a parser takes, and nobody should send."""
        coding = self.noted.get(b"transfer-encoding")
        if coding is not None and coding.lower() != b"chunked":
            return Refusal(501, "request", "the only Transfer-Encoding that is understood is chunked")
        if self.version not in ("1.1", "1.0"):
            return Refusal(505, "request", f"HTTP/{self.version} isn't spoken here; use HTTP/1.1")
        if coding is not None and self.version == "1.0":
            return Refusal(400, "request", "HTTP/1.0 has no Transfer-Encoding; use HTTP/1.1")
        if self.protocol is not None and (coding is not None or self.length):
            return Refusal(400, "request", "a request to switch the protocol can't have a body")
        expect = self.noted.get(b"expect")
        if expect is not None and tokens(expect) != [b"100-continue"]:
            return Refusal(417, "request", "the only Expect that is understood is 100-continue")
        return None
