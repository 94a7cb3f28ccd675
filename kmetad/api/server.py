"""Where the API server is, and as whom it is asked."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from kmetad.api.credentials import NOBODY, Credentials
from kmetad.api.errors import NoServer


@dataclass(frozen=True, slots=True)
class Server:
    """One API server, or what stands before it.

    Raises NoServer for a URL that is none.
    """

    url: str
    """``https://HOST:PORT``, perhaps with a path in front of all others; plain http gets no credentials."""
    credentials: Credentials = NOBODY
    verify: bool = True
    """False: its certificate is believed unseen, and no credentials are sent."""
    tls_name: str | None = None
    """Another name that its certificate is for."""
    proxy: str | None = None
    """An HTTP proxy on the way, as a URL."""
    namespace: str = ""
    """Where whoever asks is at home; empty if nothing says."""
    found: str = ""
    """What says all this, for messages."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "url", _checked(self.url).rstrip("/"))
        name = self.tls_name
        if name is not None and not (name.isascii() and name.isprintable() and name):
            raise NoServer(f"the name that {self.url}'s certificate is for, {name!r}: that is no name")
        if self.proxy is not None:
            object.__setattr__(self, "proxy", _checked(self.proxy, "the proxy"))

    @property
    def secure(self) -> bool:
        """Whether it may have the credentials."""
        return self.verify and self.url.startswith("https:")


def _checked(url: str, what: str = "the API server") -> str:
    """Raises NoServer."""
    wrong = ""
    try:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            wrong = "expected http:// or https:// with a host, as https://10.96.0.1:443 or http://proxy:3128"
        elif parts.username is not None or parts.password is not None:
            url, wrong = "…", "a user and a password can't be in it, for it is shown everywhere"
        elif parts.query or parts.fragment:
            wrong = "a query or fragment means nothing here"
        elif not url.isascii() or not url.isprintable() or " " in url:
            wrong = "it has blanks or other characters that no URL has"
    except ValueError as error:
        wrong = str(error)
    if wrong:
        raise NoServer(f"the URL of {what}, {url!r}: {wrong}")
    return parts.scheme + url[len(parts.scheme) :]
