"""Hostile requests: a browser that was led here by another's name (DNS rebinding), or by another's page."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ambassador import WEB, Row, Upstream, ask, broken, check, passed, refused, sent

WEBS = sent("GET", WEB)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """One for all."""
    with Upstream() as running:
        yield running


def no(name: str, host: str | None, **options: object) -> Row:
    """A Host that is refused."""
    return refused(name, ask("GET", WEB, host=host), 403, **options)


def garbled(name: str, host: str) -> Row:
    """A Host that no parser lets through."""
    return broken(name, ask("GET", WEB, host=host))


def yes(name: str, host: str, **options: object) -> Row:
    """A Host that is accepted. What the upstream gets is its own."""
    return passed(name, ask("GET", WEB, host=host), WEBS, **options)


HOSTS = [
    no("another name", "evil.com"),
    no("another name with this port", "evil.com:8001"),
    no("below another name", "localhost.evil.com"),
    no("another name below", "evil.localhost"),
    no("a name that leads here", "127.0.0.1.nip.io"),
    no("another that does", "localtest.me"),
    no("a name that begins so", "localhosts"),
    no("a name that ends so", "notlocalhost"),
    no("a name with a hyphen", "localhost-evil.com"),
    no("a dot at the end", "localhost."),
    no("a dot at the end of the address", "127.0.0.1."),
    no("a dot at the beginning", ".localhost"),
    no("another address", "127.0.0.2"),
    no("any address", "0.0.0.0"),
    no("the address in short", "127.1"),
    no("the address as a number", "2130706433"),
    no("the address in octal", "0177.0.0.1"),
    no("the address in hexadecimal", "0x7f.0.0.1"),
    no("the API server's name", "kubernetes.default.svc"),
    no("a user", "localhost@evil.com"),
    no("a user that is empty", "@localhost"),
    no("a user that is another's", "evil.com@localhost"),
    no("a scheme", "http://localhost"),
    no("a path", "localhost/evil"),
    no("a query", "localhost?evil.com"),
    no("a fragment", "localhost#.evil.com"),
    no("a backslash", "localhost\\.evil.com"),
    no("a percent sign", "localhost%00.evil.com"),
    no("a port that is a name", "localhost:evil"),
    no("two ports", "localhost:80:80"),
    no("a port that is too long", "localhost:000080"),
    no("a port with a sign", "localhost:+80"),
    no("blanks behind it", "localhost "),
    no("a tab behind it", "localhost\t"),
    no("two in one", "localhost, evil.com"),
    no("two with a blank", "localhost evil.com"),
    no("empty", ""),
    no("missing", None),
    no("a colon alone", ":8001"),
    no("an IPv6 address without brackets", "::1"),
    no("another IPv6 address", "[::2]"),
    no("the address in IPv6", "[::ffff:127.0.0.1]"),
    no("the IPv6 address in long", "[0:0:0:0:0:0:0:1]"),
    no("an IPv6 address with a zone", "[::1%25lo]"),
    no("brackets without an end", "[::1"),
    no("brackets around a name", "[localhost]"),
    no("more behind the brackets", "[::1].evil.com"),
    no("fullwidth letters", "\uff4c\uff4fcalhost".encode().decode("latin-1")),
    no("a K that isn't ASCII", "local\u212aost".encode().decode("latin-1")),
    no("a byte above ASCII", "localhost\xa0"),
    no("the address, where only a name is accepted", "127.0.0.1", accept_hosts=("^localhost$",)),
    no("what looks like an accepted one", "toolsxlab", accept_hosts=("^localhost$", r"^tools\.lab$")),
    garbled("NUL", "localhost\0.evil.com"),
    garbled("a vertical tab", "localhost\x0bevil.com"),
    garbled("a folded one", "localhost\r\n .evil.com"),
    refused("two", ask("GET", WEB, "Host: evil.com"), 403),
    refused("two, the other first", ask("GET", WEB, "Host: localhost", host="evil.com"), 403),
    refused("two that are the same", ask("GET", WEB, "Host: localhost"), 403),
    refused("two, one of them empty", ask("GET", WEB, "Host:"), 403),
    refused("two in different cases", ask("GET", WEB, "HOST: evil.com", "hOsT: evil.com"), 403),
    refused("X-Forwarded-Host", ask("GET", WEB, "X-Forwarded-Host: localhost", host="evil.com"), 403),
    refused("in the target", ask("GET", f"http://localhost{WEB}", host="evil.com"), 403),
    refused("of what is discovered", ask("GET", "/version", host="evil.com"), 403),
    broken("missing in HTTP/1.0", ask("GET", WEB, host=None, version="HTTP/1.0"), 403),
    broken("for a body", ask("POST", WEB, "Content-Length: 5", host="evil.com"), 403, allow_write=True),
    yes("localhost", "localhost"),
    yes("a port", "localhost:8001"),
    yes("another port", "localhost:1"),
    yes("an empty port", "localhost:"),
    yes("capitals", "LOCALHOST:8001"),
    yes("the address", "127.0.0.1:8001"),
    yes("the IPv6 address", "[::1]"),
    yes("the IPv6 address with a port", "[::1]:8001"),
    passed("with X-Forwarded-Host", ask("GET", WEB, "X-Forwarded-Host: evil.com", "X-Host: evil.com"),
        sent("GET", WEB, "x-forwarded-host: evil.com", "x-host: evil.com")),
]  # fmt: skip


@pytest.mark.parametrize("row", HOSTS, ids=str)
def test_hosts(upstream: Upstream, row: Row) -> None:
    """Whoever asks has to know this proxy by a name that is its own, said once."""
    check(upstream, row)


def page(name: str, *lines: str) -> Row:
    """A page of elsewhere, which is refused."""
    return refused(name, ask("GET", WEB, *lines), 403)


def own(name: str, *lines: str, **options: object) -> Row:
    """A page of this host's own."""
    return passed(
        name, ask("GET", WEB, *lines), sent("GET", WEB, *[_lower(line) for line in lines]), **options
    )


def _lower(line: str) -> str:
    name, _, value = line.partition(":")
    return f"{name.lower()}:{value}"


ORIGINS = [
    page("another", "Origin: http://evil.com"),
    page("another with TLS", "Origin: https://evil.com"),
    page("null", "Origin: null"),
    page("null in capitals", "Origin: NULL"),
    page("below another", "Origin: http://localhost.evil.com"),
    page("a name that begins so", "Origin: http://localhost.evil"),
    page("a name that ends so", "Origin: http://evillocalhost"),
    page("a name that leads here", "Origin: http://127.0.0.1.nip.io:8001"),
    page("a dot at the end", "Origin: http://localhost."),
    page("another scheme", "Origin: ftp://localhost"),
    page("an extension's", "Origin: chrome-extension://localhost"),
    page("a file's", "Origin: file://"),
    page("a scheme that ends so", "Origin: xhttp://localhost"),
    page("no scheme", "Origin: localhost"),
    page("a scheme alone", "Origin: http:"),
    page("a path", "Origin: http://localhost/"),
    page("a user", "Origin: http://localhost@evil.com"),
    page("a user that is another's", "Origin: http://evil.com@localhost"),
    page("a fragment", "Origin: http://localhost#evil.com"),
    page("a backslash", "Origin: http://localhost\\.evil.com"),
    page("two", "Origin: http://localhost", "Origin: http://evil.com"),
    page("two in one", "Origin: http://localhost http://evil.com"),
    page("two in one, with a comma", "Origin: http://localhost, http://localhost"),
    page("empty", "Origin:"),
    page("a blank behind it", "Origin: http://localhost "),
    page("a byte above ASCII", "Origin: http://localhost\xa0"),
    page("the IPv6 address without brackets", "Origin: http://::1"),
    page("another, and a site that says the same", "Origin: http://evil.com", "Sec-Fetch-Site: same-origin"),
    page("a link of another site", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"),
    page("a script of another site", "Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"),
    page("another port's", "Sec-Fetch-Site: same-site", "Origin: http://localhost:3000"),
    page("a site in capitals", "Sec-Fetch-Site: CROSS-SITE"),
    page("a site that isn't known", "Sec-Fetch-Site: new-site"),
    page("an empty site", "Sec-Fetch-Site:"),
    page("two sites", "Sec-Fetch-Site: same-origin", "Sec-Fetch-Site: cross-site"),
    broken("a form of another site", ask("POST", WEB, "Origin: http://evil.com", "Content-Length: 2"), 403,
        allow_write=True),
    broken("a WebSocket of another site",
        ask("GET", f"{WEB}/exec", "Origin: http://evil.com", "Connection: upgrade",
        "Upgrade: websocket"), 403, allow=("get,create:pods/exec",)),
    refused("preflight", ask("OPTIONS", WEB, "Origin: http://localhost",
        "Access-Control-Request-Method: DELETE"), 405),
    own("its own", "Origin: http://localhost:8001", "Sec-Fetch-Site: same-origin"),
    own("with TLS", "Origin: https://localhost"),
    own("the address", "Origin: http://127.0.0.1:8001"),
    own("the IPv6 address", "Origin: http://[::1]:8001"),
    own("typed by its user", "Sec-Fetch-Site: none"),
    own("an accepted one", "Origin: http://tools.lab", accept_hosts=("^localhost$", r"^tools\.lab$")),
]  # fmt: skip


@pytest.mark.parametrize("row", ORIGINS, ids=str)
def test_origins(upstream: Upstream, row: Row) -> None:
    """A page that isn't this host's own gets nothing, and makes nothing be done."""
    check(upstream, row)
