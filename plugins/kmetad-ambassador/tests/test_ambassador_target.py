"""The request target: one reading of it, or none."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from kmetad_ambassador.refusal import Refusal
from kmetad_ambassador.target import LONGEST, MOST_PARAMETERS, Target, canonical, is_part

from tests.apiserver.recorded import DATA, recorded

PLAIN = "ABCXYZabcxyz019-._~!$&'()*+,=:@"
"""One of each kind that a part of a path may hold."""
HOSTILE = "/api/v1%2e%2f%5c;\\?#&=%00%25 \x00\x7f\xff%zz%3b"


def refused(raw: bytes, *told: str, status: int = 400) -> None:
    """It isn't passed on, and the message says why and what to write."""
    with pytest.raises(Refusal) as caught:
        canonical(raw)
    assert (caught.value.status, caught.value.kind) == (status, "target")
    for text in told:
        assert text in caught.value.message
    assert caught.value.message.isascii() and caught.value.message.isprintable()


def tried(raw: bytes) -> Target | Refusal:
    """What comes of it."""
    try:
        return canonical(raw)
    except Refusal as refusal:
        return refusal


class TestClean:
    """What every client sends."""

    @pytest.mark.parametrize(
        "path",
        [
            "/",
            "/api",
            "/api/v1/namespaces/lab/pods/web",
            "/apis/apps/v1/",
            "/.well-known/openid-configuration",
            "/api/v1/namespaces/lab/services/https:web:443/proxy/a...b/...",
            "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node",
            f"/{PLAIN}",
        ],
    )
    def test_unchanged(self, path: str) -> None:
        """A path without anything to decode stays what it is, its last slash too."""
        assert canonical(path.encode()) == Target(path, "")

    @pytest.mark.parametrize("name", sorted(path.name.split(".")[0] for path in DATA.glob("*.meta.json")))
    def test_recorded(self, name: str) -> None:
        """Whatever was asked of a real API server is passed on as it was."""
        raw = recorded(name).request["path"].encode()
        assert canonical(raw).raw() == raw

    def test_api_servers_own_paths(self) -> None:
        """And each path that it says to have."""
        paths = recorded("root").json["paths"]
        assert len(paths) > 100
        for path in paths:
            assert canonical(path.encode()) == Target(path, "")

    @pytest.mark.parametrize(
        ("raw", "target"),
        [
            (b"/?", Target("/", "")),
            (b"/api?", Target("/api", "")),
            (b"/api/?a", Target("/api/", "a")),
            (b"/api?a=/?&b=?", Target("/api", "a=/?&b=?")),
        ],
    )
    def test_query_apart(self, raw: bytes, target: Target) -> None:
        """The first ? begins it, and an empty one is none."""
        assert canonical(raw) == target


class TestForms:
    """Of the four that RFC 9112 has, one."""

    @pytest.mark.parametrize(
        "raw",
        [
            b"http://localhost:8001/api/v1/pods",
            b"https://10.0.0.1/api",
            b"HTTP://localhost/",
            b"ftp://localhost/api",
            b"unix://a/api",
            b"http:///api/v1/secrets",
            b"http://",
            b"x+y-1.z://a/api",
        ],
    )
    def test_absolute(self, raw: bytes) -> None:
        """A whole URL would have a second host."""
        refused(raw, "whole URL", "write the path alone, as /api/v1/pods")

    @pytest.mark.parametrize(
        "raw",
        [
            b"localhost:8001",
            b"10.0.0.1:443",
            b"[::1]:443",
            b"api/v1/pods",
            b"?watch=1",
            b"./api",
            b"../api",
            b"%2fapi/v1/pods",
            b"\\api",
            b" /api",
            b"\t/api",
            b"http:/api",
            b"://a/api",
            b"1http://a/api",
            b";/api",
            b"\xef\xbb\xbf/api",
        ],
    )
    def test_no_slash(self, raw: bytes) -> None:
        """CONNECT's host and port, and what isn't even that."""
        refused(raw, "doesn't begin with /", "write the path alone")

    def test_asterisk(self) -> None:
        """OPTIONS of the whole server."""
        refused(b"*", "is *", "write the path alone")
        assert canonical(b"/*") == Target("/*", "")

    def test_empty(self) -> None:
        """Nothing at all."""
        refused(b"", "is empty", "write the path alone")

    @pytest.mark.parametrize(
        "raw", [b"/api#x", b"/api/v1/pods#", b"/#", b"/api?watch=1#x", b"/api?#", b"/api#?watch=1"]
    )
    def test_fragment(self, raw: bytes) -> None:
        """A browser keeps it to itself."""
        refused(raw, "fragment", "leave it out")


class TestDots:
    """Parts that lead to another path."""

    @pytest.mark.parametrize(
        "path",
        [
            "/.",
            "/..",
            "/./",
            "/../",
            "/x/../api/v1/secrets",
            "/api/v1/./pods",
            "/api/v1/pods/..",
            "/api/v1/pods/.",
            "/api/v1/pods/../",
            "/api/v1/pods/./",
            "/..?a",
            "/%2e",
            "/%2E/",
            "/%2e%2e/api",
            "/%2E%2e/api",
            "/.%2e/api",
            "/%2e./api",
            "/api/v1/pods/%2e%2e",
            "/api/v1/namespaces/lab/services/web/proxy/..",
            "/api/v1/namespaces/lab/services/web/proxy/%2e%2e/%2e%2e/%2e%2e/secrets",
        ],
    )
    def test_refused(self, path: str) -> None:
        """However they are written, and wherever they stand."""
        refused(path.encode(), "a part . or ..", "write that path itself")

    @pytest.mark.parametrize(
        "path", ["/...", "/.a", "/a.", "/a..b", "/..a", "/a/.../b", "/....", "/a.?..", "/a?/../"]
    )
    def test_names_with_dots(self, path: str) -> None:
        """What only looks like one."""
        assert canonical(path.encode()).raw() == path.encode()


class TestEmptyParts:
    """Slashes that some merge."""

    @pytest.mark.parametrize(
        "path",
        [
            "//",
            "///",
            "//api/v1/secrets",
            "/api//v1/secrets",
            "/api/v1/secrets//",
            "/api/v1//",
            "//?a",
            "//evil.com/api",
            "/%70//x",
            "/api///v1",
        ],
    )
    def test_refused(self, path: str) -> None:
        """At the beginning, in the middle, at the end."""
        refused(path.encode(), "empty part", "write one /")


class TestEncodings:
    """What is encoded needlessly is decoded once; what would have to stay encoded is in no path of the API."""

    @pytest.mark.parametrize(
        ("raw", "path"),
        [
            (b"/api/v1/%70ods", "/api/v1/pods"),
            (b"/%61%70%69/v1/%73%65%63%72%65%74%73", "/api/v1/secrets"),
            (b"/api/v1/nodes/a%2Db%5F%7e%2e1", "/api/v1/nodes/a-b_~.1"),
            (b"/%3A%3a%40%21%24%26%27%28%29%2A%2b%2C%3d", "/::@!$&'()*+,="),
            (b"/pods/%77eb/", "/pods/web/"),
            (b"/%2e%2e%2e", "/..."),
            (b"/%70?a=%70", "/p"),
        ],
    )
    def test_decoded(self, raw: bytes, path: str) -> None:
        """Unreserved characters and sub-delims, in either case of the digits; the query is left alone."""
        assert canonical(raw) == Target(path, "a=%70" if b"?" in raw else "")

    @pytest.mark.parametrize(
        "path",
        [
            "/api%2fv1",
            "/api%2Fv1/secrets",
            "/%2f",
            "/%2fapi",
            "/api/v1/namespaces/lab%2fsecrets/pods",
            "/api/v1/namespaces/lab/pods/web%2Fexec",
            "/x/..%2fapi",
            "/x%2f..%2fapi",
            "/api/%2F/v1",
            "/api/v1/pods%2f",
        ],
    )
    def test_slash(self, path: str) -> None:
        """Go's URL.Path has it decoded, others don't."""
        refused(path.encode(), "encoded slash", "write /")

    @pytest.mark.parametrize(
        "path",
        [
            "/%25",
            "/%2570ods",
            "/api/v1/%252e%252e/secrets",
            "/%25%32%65",
            "/x/%252f/api",
            "/%253b",
            "/%25252e",
            "/api/v1/pods/%25%37%30",
            "/a%25",
            "/%25zz",
        ],
    )
    def test_twice(self, path: str) -> None:
        """Something behind the API server may decode again."""
        refused(path.encode(), "%25, an encoded %", "encode once")

    @pytest.mark.parametrize(
        "path",
        [
            "/%5c",
            "/x%5C..%5Capi",
            "/api%5cv1",
            "/..%5c",
            "/%5c%5cevil",
            "/a/%5C",
            "/a%5C",
            "/%5c/",
            "/%5C..",
            "/a/b%5cc",
        ],
    )
    def test_backslash(self, path: str) -> None:
        """A slash to some."""
        refused(path.encode(), "encoded backslash", "write /")

    @pytest.mark.parametrize(
        "path",
        [
            "/%00",
            "/api%00",
            "/api/v1/pods%00/exec",
            "/api/v1/pods/web%00.html",
            "/%00/",
            "/a%00b",
            "/%00%00",
            "/a/%00",
        ],
    )
    def test_nul(self, path: str) -> None:
        """The end of the path, to some."""
        refused(path.encode(), "encoded NUL", "leave it out")

    @pytest.mark.parametrize(
        "path", ["/%3b", "/api%3Bx/v1", "/api/v1/pods;%3b", "/pods%3Ba=b", "/%3B/", "/a/%3b"]
    )
    def test_semicolon(self, path: str) -> None:
        """Parameters of a part, to some."""
        refused(path.encode(), ";", "no path of the API has", "leave it out")

    @pytest.mark.parametrize(
        "code",
        [*range(1, 0x21), *b'"<>^`{|}#?[]', 0x7F, *range(0x80, 0x100)],
    )
    def test_what_needs_it(self, code: int) -> None:
        """Control characters, spaces, delimiters, UTF-8, and bytes that are none."""
        refused(b"/api/v1/pods/a%%%02xb" % code, f"%{code:02x}", "leave it out")
        refused(b"/api/v1/pods/a%%%02Xb" % code, f"%{code:02X}", "leave it out")

    def test_overlong(self) -> None:
        """UTF-8 that isn't, but which lax decoders take for a dot or a slash."""
        for spelling in (
            b"/%c0%ae%c0%ae/api",
            b"/%c0%af",
            b"/%e0%80%af",
            b"/%f0%80%80%af",
            b"/%ef%bc%8f",
            b"/%u002e",
        ):
            refused(spelling, "leave it out")

    @pytest.mark.parametrize(
        "path",
        [
            "/%",
            "/%a",
            "/%zz",
            "/%2",
            "/%g0",
            "/%0g",
            "/a%/b",
            "/% 70",
            "/%-1",
            "/%%37%30",
            "/%2%65",
            "/%u0070",
            "/%+1",
        ],
    )
    def test_broken(self, path: str) -> None:
        """A % that encodes nothing."""
        refused(path.encode())
        refused(b"/api/v1/%", "% at byte 9", "leave it out")


class TestCharacters:
    """Bytes that no target has."""

    @pytest.mark.parametrize("code", [*range(0x21), 0x7F])
    def test_control(self, code: int) -> None:
        """Neither in the path nor in the query."""
        refused(b"/api%c" % code, "path holds, at byte 5 of the target")
        refused(b"/api?a%c" % code, "query holds, at byte 7 of the target")

    @pytest.mark.parametrize("code", range(0x80, 0x100))
    def test_not_ascii(self, code: int) -> None:
        """UTF-8 has to be encoded in a query, and no path has any."""
        refused(b"/api/%c" % code, f"byte 0x{code:02x}", "no path of the API has")
        refused(b"/api?a=%c" % code, f"byte 0x{code:02x}", "percent-encoded")

    @pytest.mark.parametrize(
        "path",
        ["/\\", "/x\\..\\api", "/api\\v1", "\\/api", "/..\\api", "/api/v1/pods\\", "/\\\\evil", "/a/\\/b"],
    )
    def test_backslash(self, path: str) -> None:
        """A slash to browsers."""
        refused(path.encode())
        refused(b"/api\\v1", "backslash", "write /")

    @pytest.mark.parametrize(
        "path",
        [
            "/;",
            "/api;x/v1",
            "/api/v1/pods;a=b",
            "/api/v1/pods/web;/exec",
            "/;/api",
            "/..;/api",
            "/api/;",
            "/a;b",
            "/a/;b",
        ],
    )
    def test_semicolon(self, path: str) -> None:
        """Parameters of a part, to some."""
        refused(path.encode(), "a ;", "leave it out")

    @pytest.mark.parametrize("character", '"<>^`{|}[]')
    def test_delimiters(self, character: str) -> None:
        """As they are, they are in no URL."""
        refused(f"/api/{character}".encode(), f"a {character}, which no path of the API has")
        refused(f"/api?{character}".encode(), f"write %{ord(character):02X}")


class TestLength:
    """Paths that nobody needs."""

    def test_longest(self) -> None:
        """4 KiB pass, whatever the query has."""
        path = "/" + "a" * (LONGEST - 1)
        assert canonical(path.encode()).path == path
        assert canonical(f"{path}?{'b' * LONGEST}".encode()).path == path

    def test_longer(self) -> None:
        """One byte more doesn't, whatever else is wrong with it."""
        path = b"/" + b"a" * LONGEST
        refused(path, f"{LONGEST + 1} bytes", f"at most {LONGEST}", status=414)
        refused(path + b"?a", status=414)
        refused(path + b"/../%zz", status=414)

    def test_encoded(self) -> None:
        """What counts is what was sent."""
        refused(b"/" + b"%61" * (LONGEST // 3 + 1), status=414)

    def test_no_blow_up(self) -> None:
        """The longest ones take no time to speak of, which a test can only say by ending."""
        for text in ("a/" * 2000 + "%", "./" * 2000, "%61" * 1300 + "%", "/" * 4000, "a" * 4000 + "\0"):
            refused(b"/" + text.encode())
        refused(b"/api?" + b"a%3D" * 8000 + b"\0")


class TestQuery:
    """What Go's url.ParseQuery and others read alike."""

    @pytest.mark.parametrize(
        "query",
        [
            "watch",
            "watch=1&fieldSelector=metadata.name%3Dweb",
            "labelSelector=app+in+%28a%2Cb%29",
            "a=b=c",
            "&&a&",
            "=",
            "command=sh&command=-c&command=echo%0A%3B%23%26",
            "a=/?:@!$'()*,~-._",
            "a=%C3%BC",
            "%61=1",
            "a=%25zz",
        ],
    )
    def test_kept(self, query: str) -> None:
        """Byte for byte."""
        raw = f"/api/v1/pods?{query}".encode()
        assert canonical(raw) == Target("/api/v1/pods", query)
        assert canonical(raw).raw() == raw

    @pytest.mark.parametrize(
        "query", ["a=1;watch=1", ";", "watch=1;", "a;b", "a=b;c=d&e", "&;&", "a=;", ";a", "a=%61;", "?;"]
    )
    def test_semicolon(self, query: str) -> None:
        """Go drops the whole pair, older Go splits there; %3B is a character to all."""
        refused(f"/api?{query}".encode(), ";", "write & between parameters", "%3B")
        assert canonical(b"/api?a=%3B").query == "a=%3B"

    @pytest.mark.parametrize(
        "query",
        [
            "%",
            "a=%",
            "a=%z",
            "watch=%zz",
            "%w=1",
            "a=%1",
            "a=%%31",
            "a=% 1",
            "watch=1&b=%",
            "a=%u0061",
            "%=%",
        ],
    )
    def test_broken(self, query: str) -> None:
        """Go drops the pair, Python keeps it."""
        refused(f"/api?{query}".encode())
        refused(b"/api?watch=%zz", "% at byte 12", "write %25")

    @pytest.mark.parametrize(
        "query", ["%00", "a=%00", "a%00=1", "watch=1%00", "a=b&c=%00", "fieldSelector=metadata.name%3Da%00"]
    )
    def test_nul(self, query: str) -> None:
        """The end, to some."""
        refused(f"/api?{query}".encode(), "%00", "leave it out")

    @pytest.mark.parametrize(
        "query", ["a=%FF", "%80", "a=%C3", "a=%C3&%BC", "a=%ED%A0%80", "a=%C0%AE", "a=%F8", "a=%E2%82"]
    )
    def test_no_utf8(self, query: str) -> None:
        """Go keeps the bytes, Python replaces them."""
        refused(f"/api?{query}".encode(), "UTF-8")

    def test_too_many(self) -> None:
        """Go reads nothing at all beyond its limit, so that a selector is none."""
        most = b"/api?" + b"&" * (MOST_PARAMETERS - 1)
        assert canonical(most).raw() == most
        refused(most + b"&", f"more than {MOST_PARAMETERS} parameters")
        refused(most + b"&a=%C3%BC", f"more than {MOST_PARAMETERS} parameters")
        assert MOST_PARAMETERS < 10_000

    def test_nothing_of_it_is_told(self) -> None:
        """A message is logged, and a query may hold what nobody should read."""
        for query in (
            b"token=s3cr3t;",
            b"token=s3cr3t%",
            b"token=s3cr3t\xff",
            b"token=s3cr3t%00",
            b"token=s3cr3t%FF",
        ):
            with pytest.raises(Refusal) as caught:
                canonical(b"/api?" + query)
            assert "s3cr3t" not in caught.value.message


def test_parts() -> None:
    """What can stand between two slashes."""
    assert all(map(is_part, ("a", "...", ".a", PLAIN, "https:web:443")))
    assert not any(
        map(is_part, ("", ".", "..", "a/b", "a?", "a%", "a;", "a b", "ü", "a\n", "a\0", ".?", "./"))
    )


@given(
    st.one_of(st.binary(max_size=30), st.text(HOSTILE, max_size=40).map(lambda text: text.encode("latin-1")))
)
@example(b"/%2e")
@example(b"/a/?")
@example(b"/?%70")
@example(b"/%2f/")
def test_one_reading(raw: bytes) -> None:
    """What is let through is canonical, and says the same to other readers."""
    for data in (raw, b"/" + raw):
        target = tried(data)
        if isinstance(target, Refusal):
            assert (target.status, target.kind) == (400, "target")
            assert target.message.isascii() and target.message.isprintable()
            continue
        assert canonical(target.raw()) == target
        assert target.path.startswith("/") and re.fullmatch(rf"[/{re.escape(PLAIN)}A-Za-z0-9]+", target.path)
        assert "//" not in target.path and not {".", ".."} & set(target.path.split("/"))
        assert not set("%;\\?#\0") & set(target.path)
        assert not set(";#\0") & set(target.query)
        split = urlsplit("http://localhost" + target.raw().decode())
        assert (split.path, split.query) == target
        if target.query:
            parse_qsl(target.query, keep_blank_values=True, strict_parsing=False, errors="strict")


def spellings(path: str) -> st.SearchStrategy[str]:
    """A path with some of its characters encoded, the slashes among them, in either case, or twice."""

    def spelt(character: str, how: int) -> str:
        code = f"{ord(character):02x}"
        return (character, character, f"%{code}", f"%{code.upper()}", f"%25{code}")[how]

    choices = st.lists(st.integers(0, 4), min_size=len(path), max_size=len(path))
    return choices.map(lambda how: "".join(map(spelt, path, how)))


CLEAN = st.lists(st.text(PLAIN, min_size=1, max_size=8).filter(is_part), max_size=6).map(
    lambda parts: "/" + "/".join(parts)
)


@given(CLEAN.flatmap(lambda path: st.tuples(st.just(path), spellings(path))))
def test_every_spelling(both: tuple[str, str]) -> None:
    """However a clean path's characters are encoded: it is that path, or refused."""
    path, spelling = both
    target = tried(spelling.encode())
    if isinstance(target, Refusal):
        assert spelling[0] == "%" or "%25" in spelling or "%2f" in spelling.lower()
        return
    assert target == Target(path, "")
    assert "%25" not in spelling and "%2f" not in spelling.lower()
