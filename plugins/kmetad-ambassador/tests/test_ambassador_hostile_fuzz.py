"""Whatever bytes come: what reaches the upstream is whole requests, each of them allowed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, event, example, given, settings
from hypothesis import strategies as st

from tests.ambassador import PODS, TOKEN, WEB, Caller, Upstream, answers, ask, requests, says, settled
from tests.proxying import Proxied

EXAMPLES = int(os.environ.get("AMBASSADOR_EXAMPLES", "300"))
"""More by hand: AMBASSADOR_EXAMPLES=10000."""

LAB = "/api/v1/namespaces/lab"
MAPS = f"{LAB}/configmaps"
RULES = ("get,list,watch:pods,pods/log:lab", "create:configmaps:lab")

_VERSION = "/api/[^/]+"  # which is nothing to rules, as in RBAC
_READS = re.compile(rf"{_VERSION}/namespaces/lab/pods(/[^/]+(/log)?)?/?")
_CREATES = re.compile(rf"{_VERSION}/namespaces/lab/configmaps/?")
_DISCOVERS = re.compile(
    r"/|/api(/[^/]+)?/?|/apis(/[^/]+){0,2}/?|/version/?|/(healthz|livez|readyz|openapi|swaggerapi)(/.*)?"
)


def allowed(method: str, target: str) -> bool:
    """The slow reference: RULES, and discovery, as plain text."""
    path = target.partition("?")[0]
    if "%" in path or "//" in path or {".", ".."} & set(path.split("/")):
        return False
    if method == "POST":
        return bool(_CREATES.fullmatch(path))
    return method in ("GET", "HEAD") and bool(_READS.fullmatch(path) or _DISCOVERS.fullmatch(path))


DELETE, SECRET, EXEC = (
    ask("DELETE", WEB),
    ask("GET", f"{LAB}/secrets/s"),
    ask("GET", f"{WEB}/exec?command=sh"),
)
BODY = b'{"kind":"ConfigMap"}'
WHOLE = [
    ask("GET", WEB),
    ask("GET", f"{PODS}?watch=1&fieldSelector=metadata.name%3Dweb"),
    ask("GET", "/version", "Connection: keep-alive", "Accept: */*"),
    ask("POST", MAPS, f"Content-Length: {len(BODY)}", body=BODY),
    ask("POST", MAPS, "Transfer-Encoding: chunked", body=b"5\r\nhello\r\n2;x=y\r\n!!\r\n0\r\nX: y\r\n\r\n"),
    ask("POST", MAPS, f"Content-Length: {len(DELETE)}", body=DELETE),
    ask("POST", MAPS, "Transfer-Encoding: chunked", body=b"%x\r\n%s\r\n0\r\n\r\n" % (len(SECRET), SECRET)),
    ask("GET", WEB, "X-Long: " + "a" * 300, f"Content-Length: {len(DELETE)}", body=DELETE),
    ask("GET", WEB, "Connection: Upgrade", "Upgrade: h2c"),
    ask("POST", MAPS, "Expect: 100-continue", "Content-Length: 2", body=b"{}"),
    DELETE,
    SECRET,
    EXEC,
    ask("GET", f"{WEB}/exec", "Connection: Upgrade", "Upgrade: websocket", body=DELETE),
    ask("POST", f"{WEB}/exec", "Connection: Upgrade", "Upgrade: SPDY/3.1", "Content-Length: 0"),
    ask("DELETE", WEB, f"Content-Length: {len(SECRET)}", body=SECRET),
    ask("DELETE", PODS, "Transfer-Encoding: chunked", body=b"2\r\n{}\r\n0\r\n\r\n"),
    ask("PUT", WEB, "Content-Length: 2", body=b"{}"),
    ask("GET", f"{PODS}/%2e%2e/secrets/s"),
    ask("GET", WEB, "Authorization: Bearer theirs", "Impersonate-User: admin"),
]

BITS = [
    *[b"\r", b"\n", b"\r\n", b"\r\n\r\n", b"\n\n", b" ", b"\t", b"\0", b":", b",", b";", b"/", b"..", b"%2f",
        b"%", b"?", b"\xff"],
    *[b"%d" % digit for digit in range(10)],
    *[b"-", b"+", b"0x", b"Content-Length: 0\r\n", b"Content-Length: 7\r\n",
        b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding"],
    *[b"chunked", b"identity", b"0\r\n\r\n", b"Connection: close\r\n",
        b"Upgrade: x\r\nConnection: upgrade\r\n", b"HTTP/1.0", b"GET "],
    *[b"Host: localhost\r\n", b"Expect: 100-continue\r\n", DELETE, SECRET],
]  # fmt: skip

Edit = tuple[str, int, int, bytes]
EDITS: st.SearchStrategy[list[Edit]] = st.lists(
    st.tuples(
        st.sampled_from(["insert", "insert", "delete", "duplicate", "swap", "replace"]),
        st.integers(0, 2000),
        st.integers(1, 8),
        st.sampled_from(BITS),
    ),
    max_size=5,
)


def edited(data: bytes, edits: list[Edit]) -> bytes:
    """The same with mistakes."""
    for kind, place, size, bit in edits:
        at = place % (len(data) + 1)
        before, there, after = data[:at], data[at : at + size], data[at + size :]
        data = {
            "insert": before + bit + there + after,
            "delete": before + after,
            "duplicate": before + there + there + after,
            "swap": before + there[::-1] + after,
            "replace": before + bit + after,
        }[kind]
    return data


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """The same in pieces."""
    places = sorted({cut % (len(data) + 1) for cut in cuts} | {0, len(data)})
    return [data[begin:end] for begin, end in zip(places, places[1:], strict=False)]


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """One for all."""
    with Upstream() as running:
        yield running


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    st.lists(st.sampled_from(WHOLE), min_size=1, max_size=4),
    EDITS,
    st.lists(st.integers(0, 2000), max_size=3),
)
@example(WHOLE[:1], [], [])
@example([WHOLE[3], WHOLE[10], WHOLE[0]], [], [])
def test_whatever_comes(upstream: Upstream, whole: list[bytes], edits: list[Edit], cuts: list[int]) -> None:
    """Requests that are allowed and others, one behind the other, with mistakes, in pieces."""
    data = edited(b"".join(whole), edits)
    try:
        with Proxied(upstream.server, allow=RULES) as proxied, Caller(proxied) as caller:
            for piece in pieces(data, cuts):
                caller.send(piece)
            settled(proxied, caller)
            caller.leave()
            caller.until_end()
        log = proxied.log
    finally:
        reached = upstream.taken()
    seen = []
    for got in reached:
        found, rest = requests(got)
        seen += found
        if rest:  # a body of which the rest never came
            head = rest.partition(b"\r\n\r\n")[0] + b"\r\nContent-Length: 0\r\n\r\n"
            head = head.replace(b"Transfer-Encoding: chunked\r\n", b"")
            (begun,), _ = requests(re.sub(rb"Content-Length: [1-9]\d*\r\n", b"", head))
            assert allowed(begun.method, begun.target), rest
            assert got is reached[-1]
    for one in seen:
        assert allowed(one.method, one.target), one
        fields = dict(one.fields)
        assert fields["host"] == upstream.host
        assert fields["authorization"] == f"Bearer {TOKEN}"
        assert not [name for name in fields if name.startswith(("impersonate-", "x-remote-"))]
    got_answers, rest = answers(caller.got, ended=True)
    assert rest == b""
    assert [answer.body for answer in got_answers if answer.status == 200] == [says(one) for one in seen]
    assert TOKEN.encode() not in caller.got
    assert TOKEN not in repr(log.lines) and log.of("ambassador.fault") == []
    event(f"{len(seen)} reached it")
    event(f"answered {sorted({answer.status for answer in got_answers})}")
