"""The proxy's own token."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.proxied import (
    WEB,
    Start,
    Upstream,
    answering,
    bearer,
    client,
    echo,
    told,
)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """In the API server's place."""
    with Upstream() as made:
        yield made


def test_the_right_token(upstream: Upstream, start: Start, token_file: Path) -> None:
    """Passes, and isn't sent on."""
    proxy = start(upstream.server, token_file=str(token_file))
    with client(proxy) as sock:
        for count, kind in enumerate(("Bearer", "bearer", "BEARER")):
            sock.ask("GET", WEB, bearer("open-sesame", kind))
            server = upstream.take(new=count == 0)
            assert server.message().head.get("Authorization") is None
            server.send(answering())
            assert sock.message().status == 200


WRONG = {
    "none": (),
    "another": (bearer("open-barley"),),
    "empty": ("Authorization:",),
    "kind alone": ("Authorization: Bearer",),
    "a part": (bearer("open-sesam"),),
    "more": (bearer("open-sesame1"),),
    "basic": (bearer("open-sesame", "Basic"),),
    "bare": ("Authorization: open-sesame",),
    "no ASCII": (bearer("open-sesam\xe9"),),
    "twice": (bearer("open-sesame"), bearer("open-sesame")),
    "in the query": (),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_token(upstream: Upstream, start: Start, token_file: Path, wrong: str) -> None:
    """Gets the same 401, whatever is wrong, and nothing else is told; the connection is kept."""
    proxy = start(upstream.server, token_file=str(token_file))
    with client(proxy) as sock:
        for target in (WEB, "/api/v1/secrets", "/not//even/a/path", f"{WEB}?token=open-sesame"):
            for method in ("GET", "DELETE", "PUT"):
                sock.ask(method, target, *WRONG[wrong])
                got = sock.message()
                assert (got.status, got.head.get("WWW-Authenticate")) == (401, "Bearer")
                assert json.loads(got.body) == {
                    "kind": "Status",
                    "apiVersion": "v1",
                    "metadata": {},
                    "status": "Failure",
                    "message": "kmetad proxy: this proxy wants its own bearer token (--token-file): "
                    "`Authorization: Bearer …`",
                    "reason": "Unauthorized",
                    "code": 401,
                }
    assert upstream.nobody()
    assert {line["kind"] for line in proxy.log.of("ambassador.refused")} == {"token"}
    assert "open" not in str(proxy.log.lines)


def test_a_token_that_is_replaced(upstream: Upstream, start: Start, token_file: Path) -> None:
    """The new one counts from the next request on, on connections that there are, too; the old one no more."""
    proxy = start(upstream.server, token_file=str(token_file))
    upstream.serve(echo)
    with client(proxy) as sock:
        assert sock.get(WEB, bearer("open-sesame")).status == 200
        new = token_file.with_name("new")
        new.write_text("shut-sesame")
        new.rename(token_file)
        assert sock.get(WEB, bearer("open-sesame")).status == 401
        assert sock.get(WEB, bearer("shut-sesame")).status == 200
        token_file.write_text("once-more-in-place")
        assert sock.get(WEB, bearer("once-more-in-place")).status == 200


@pytest.mark.parametrize("content", [None, b"", b"\n \n"])
def test_a_token_that_is_not_there(
    upstream: Upstream, start: Start, token_file: Path, content: bytes | None
) -> None:
    """503 for everybody, also who sends none; when it has come, all is well."""
    token_file.unlink()
    if content is not None:
        token_file.write_bytes(content)
    proxy = start(upstream.server, token_file=str(token_file))
    upstream.serve(echo)
    with client(proxy) as sock:
        for lines in ((), (bearer(""),), ("Authorization: Bearer",), (bearer("x"),)):
            got = sock.get(WEB, *lines)
            assert got.status == 503
            assert str(token_file) in told(got)
        token_file.write_text("late")
        assert sock.get(WEB, bearer("late")).status == 200
        token_file.unlink()
        assert sock.get(WEB, bearer("late")).status == 503
        assert sock.get("/healthz").body == b"ok"
