"""kubectl proxy's expressions, and who may ask at all."""

from __future__ import annotations

import re
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kmetad_ambassador.filter import Filter
from kmetad_ambassador.refusal import Refusal

LOCALHOST = ("^localhost$", r"^127\.0\.0\.1$", r"^\[::1\]$")
"""kubectl proxy's own."""


def hosts(*accepted: str) -> Filter:
    """One that accepts these hosts, and every path."""
    return Filter(accepted or LOCALHOST, ("^.*",), (), ())


def refused(
    host: str | None, *told: str, origin: str | None = None, site: str | None = None, kind: str = "host"
) -> None:
    """Whoever asks so gets 403."""
    with pytest.raises(Refusal) as caught:
        hosts().check_host(host, origin, site)
    assert (caught.value.status, caught.value.kind) == (403, kind)
    for text in told:
        assert text in caught.value.message
    assert caught.value.message.isascii() and caught.value.message.isprintable()


class TestHosts:
    """A name that leads here from elsewhere (DNS rebinding) isn't one of those."""

    @pytest.mark.parametrize(
        "host",
        [
            "localhost",
            "localhost:8001",
            "localhost:",
            "LOCALHOST",
            "Localhost:80",
            "127.0.0.1",
            "127.0.0.1:8001",
            "[::1]",
            "[::1]:8001",
        ],
    )
    def test_accepted(self, host: str) -> None:
        """With any port, in any case; the bracketed one with a port, too, unlike kubectl proxy."""
        hosts().check_host(host, None, None)

    @pytest.mark.parametrize(
        "host",
        [
            "evil.com",
            "evil.com:8001",
            "localhost.evil.com",
            "evil-localhost",
            "127.0.0.1.nip.io",
            "127.0.0.2",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0.0.0.0",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[0:0:0:0:0:0:0:1]",
            "10.0.0.1:8001",
            "web.lab.svc",
            "_",
            "l",
        ],
    )
    def test_others(self, host: str) -> None:
        """Whatever they resolve to."""
        refused(host, "isn't accepted", "ask for localhost", "--accept-hosts")

    @pytest.mark.parametrize(
        ("host", "why"),
        [
            ("localhost@evil.com", "a user before it"),
            ("localhost:8001@evil.com", "a user before it"),
            ("user@localhost", "a user before it"),
            ("localhost:8001.evil.com", "no host with a port"),
            ("localhost:80:01", "no host with a port"),
            ("localhost:x", "no host with a port"),
            ("localhost:-1", "no host with a port"),
            ("localhost:123456", "no host with a port"),
            ("localhost:８０", "no host with a port"),
            ("localhost/evil.com", "no host with a port"),
            ("localhost?evil.com", "no host with a port"),
            ("localhost#evil.com", "no host with a port"),
            ("localhost\\evil.com", "no host with a port"),
            ("localhost%00", "no host with a port"),
            ("localhost%2eevil.com", "no host with a port"),
            ("localhost\x00", "no host with a port"),
            ("localhost;evil.com", "no host with a port"),
            ("http://localhost", "no host with a port"),
            ("//localhost", "no host with a port"),
            ("", "no host with a port"),
            (":8001", "no host with a port"),
            ("[::1", "no host with a port"),
            ("::1", "no host with a port"),
            ("[::1]x", "no host with a port"),
            ("[::1%25lo]", "no host with a port"),
            ("[localhost]", "no host with a port"),
            ("[]", "no host with a port"),
            ("ｌocalhost", "no host with a port"),
            ("localhoſt", "no host with a port"),
            ("localhost\xad", "no host with a port"),
            ("-localhost", "no host with a port"),
            (".localhost", "no host with a port"),
            ("localhost,evil.com", "more than one"),
            ("localhost, localhost", "more than one"),
            ("localhost evil.com", "more than one, or has spaces"),
            ("localhost ", "has spaces"),
            (" localhost", "has spaces"),
            ("localhost\n", "has spaces"),
            ("localhost\r\nX: y", "has spaces"),
            ("localhost\t", "has spaces"),
            ("localhost\x0b", "has spaces"),
            ("localhost.", "leave out the dot"),
            ("localhost.:8001", "leave out the dot"),
            ("127.0.0.1.", "leave out the dot"),
            ("l" * 255, "no host with a port"),
        ],
    )
    def test_no_hosts(self, host: str, why: str) -> None:
        """What some would read as localhost and others as something else."""
        refused(host, why, "ask for localhost")

    def test_none(self) -> None:
        """HTTP/1.0 may leave it out; who can't say where he asks isn't let in."""
        refused(None, "no Host", "ask for localhost")

    def test_expressions(self) -> None:
        """Unanchored, as in Go; an address in brackets with and without them; no expression accepts nothing."""
        hosts("local").check_host("mylocal.example:80", None, None)
        hosts(r"^::1$").check_host("[::1]:80", None, None)
        hosts(r"^\[::1\]$").check_host("[::1]:80", None, None)
        hosts(r"^fe80::a$").check_host("[FE80::A]", None, None)
        hosts(r"^MyHost$").check_host("MyHost", None, None)
        hosts(r"\.lab\.svc$").check_host("Web.Lab.svc:8001", None, None)
        with pytest.raises(Refusal):
            hosts(r"^MyHost$").check_host("myhost", None, None)
        with pytest.raises(Refusal):
            Filter((), ("^.*",), (), ()).check_host("localhost", None, None)

    def test_end(self) -> None:
        r"""Python's ``$`` matches before a last newline, too, and Go's doesn't."""
        for host in ("localhost\n", "localhost:80\n", "127.0.0.1\n", "[::1]\n", "[::1]:80\n"):
            refused(host)
        refused("localhost", origin="http://localhost\n", kind="origin")


class TestOrigins:
    """A web page that asks is one of localhost."""

    @pytest.mark.parametrize(
        "origin",
        [
            "http://localhost",
            "http://localhost:8001",
            "https://localhost:3000",
            "http://127.0.0.1:8001",
            "http://[::1]:8001",
        ],
    )
    @pytest.mark.parametrize("site", [None, "same-origin", "none"])
    def test_accepted(self, origin: str, site: str | None) -> None:
        """By the expressions for hosts."""
        hosts().check_host("localhost:8001", origin, site)

    @pytest.mark.parametrize(
        "origin",
        [
            "http://evil.com",
            "https://evil.com:8001",
            "http://localhost.evil.com",
            "http://localhost@evil.com",
            "http://evil.com#localhost",
            "http://localhost:8001.evil.com",
            "http://localhost/",
            "http://localhost:8001/path",
            "http://localhost http://evil.com",
            "http://localhost, http://evil.com",
            "http://localhost.",
            "chrome-extension://localhost",
            "file://localhost",
            "file://",
            "ws://localhost",
            "HTTP://localhost",
            "localhost",
            "//localhost",
            "http:localhost",
            "http://",
            "",
            "Null",
            "http://localhost%00",
            "http://ｌocalhost",
            "http://localhost\r\nX: y",
        ],
    )
    def test_others(self, origin: str) -> None:
        """Pages of elsewhere, and what is no origin."""
        refused("localhost", "isn't accepted", "--accept-hosts", origin=origin, kind="origin")

    def test_null(self) -> None:
        """Any page can have that one, in a sandboxed frame."""
        refused("localhost", "Origin: null", origin="null", kind="origin")

    @pytest.mark.parametrize(
        "site", ["cross-site", "same-site", "", "Cross-Site", "Same-Origin", "none, cross-site", "none ", "x"]
    )
    @pytest.mark.parametrize("origin", [None, "http://localhost:8001"])
    def test_sites(self, site: str, origin: str | None) -> None:
        """A browser says that another site asks; same-site is another port, or another name under one domain."""
        refused("localhost", "a web page of another site", origin=origin, site=site, kind="origin")

    def test_host_first(self) -> None:
        """After rebinding, a page's own origin is the name that it came by."""
        refused("evil.com", origin="http://evil.com", site="same-origin")


class TestPaths:
    """As FilterServer has it."""

    KUBECTL = Filter(LOCALHOST, ("^.*",), ("^/api/.*/pods/.*/exec", "^/api/.*/pods/.*/attach"), ("^$",))

    @pytest.mark.parametrize(
        ("path", "passes"),
        [
            ("/api/v1/namespaces/lab/pods/web", True),
            ("/api/v1/namespaces/lab/pods/web/exec", False),
            ("/api/v1/namespaces/lab/pods/web/attach/", False),
            ("/api/v1/namespaces/lab/pods/web/executor", False),
            ("/api/v1/namespaces/lab/pods/web/portforward", True),
            ("/x/api/v1/namespaces/lab/pods/web/exec", True),
            ("/", True),
        ],
    )
    def test_kubectls_own(self, path: str, passes: bool) -> None:
        """Its defaults."""
        assert self.passes(self.KUBECTL, "POST", path) == passes

    @pytest.mark.parametrize(
        ("accept", "reject", "methods", "passing", "refused"),
        [
            (["^/api"], [], [], ["GET /api/v1", "POST /apis"], ["GET /metrics", "GET /x/api"]),
            (["^/a"], [], [], ["GET /a"], ["GET /b"]),
            (["/pods"], [], [], ["GET /api/v1/pods/x"], ["GET /api/v1/nodes"]),
            (["^/a$", "^/b$"], [], [], ["GET /a", "GET /b"], ["GET /a/", "GET /ab"]),
            (["^.*"], ["^/a"], [], ["GET /b/a"], ["GET /a", "GET /apple"]),
            (["^/a"], ["^/a/b"], [], ["GET /a/c"], ["GET /a/b", "GET /a/b/c"]),
            (["^.*"], [], ["^POST$", "^PUT$"], ["GET /", "PATCH /"], ["POST /", "PUT /"]),
            (["^.*"], [], ["P"], ["GET /", "DELETE /"], ["POST /", "PUT /", "PATCH /", "OPTIONS /"]),
            (["^.*"], [], ["get"], ["GET /"], []),
            (["^.*"], [""], [], [], ["GET /"]),
            ([], [], [], [], ["GET /"]),
            (["(?i)^/API"], [], [], ["GET /api"], ["GET /"]),
        ],
    )
    def test_meaning(
        self, accept: list[str], reject: list[str], methods: list[str], passing: list[str], refused: list[str]
    ) -> None:
        """Unanchored; what rejects wins; an empty expression matches everything."""
        it = Filter(LOCALHOST, accept, reject, methods)
        for request in passing:
            assert self.passes(it, *request.split()), request
        for request in refused:
            assert not self.passes(it, *request.split()), request

    @staticmethod
    def passes(it: Filter, method: str, path: str) -> bool:
        """Whether it does."""
        try:
            it.check(method, path)
        except Refusal as refusal:
            return (refusal.status, refusal.kind) != (403, "filter")
        return True

    def test_told(self) -> None:
        """By which expression, and where it stands."""
        for it, text in (
            (self.KUBECTL, "rejected by '^/api/.*/pods/.*/exec' in reject_paths (--reject-paths)"),
            (
                Filter((), (".*",), (), ("^P",)),
                "the method 'POST' is rejected by '^P' in reject_methods (--reject-methods)",
            ),
            (
                Filter((), ("^/x",), (), ()),
                "no expression of accept_paths (--accept-paths) matches the path '/api/v1/pods/a/exec'",
            ),
        ):
            with pytest.raises(Refusal) as caught:
                it.check("POST", "/api/v1/pods/a/exec")
            assert text in caught.value.message

    def test_end(self) -> None:
        r"""Python's ``$`` matches before a last newline, and its ``.`` not the newline: nothing such is matched."""
        for it in (Filter((), ("^/a$",), (), ()), Filter((), ("^.*",), ("^/b$",), ())):
            assert self.passes(it, "GET", "/a")
            for path in ("/a\n", "/a\r", "/a\x85", "/a\xa0", "/\0"):
                assert not self.passes(it, "GET", path)
        assert not self.passes(Filter((), ("^.*",), (), ("^POST$",)), "POST\n", "/")

    @pytest.mark.parametrize(
        ("expression", "why"),
        [
            ("(", "'\\(' is no regular expression as Python has them: missing \\)"),
            ("*", "nothing to repeat"),
            ("a{2,1}", "min repeat"),
            (r"\pL", "bad escape"),
            (r"^/a\Q.\E", "bad escape"),
            ("[[:alpha:]]", "Possible nested set"),
            ("x(?i)", "global flags not at the start"),
        ],
    )
    @pytest.mark.parametrize("which", range(4))
    def test_no_expressions(self, expression: str, why: str, which: int) -> None:
        """What Python can't read, or would read otherwise than Go."""
        given = [(".",), (".",), (".",), (".",)]
        given[which] = (expression,)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what whoever runs it may have set
            with pytest.raises(ValueError, match=why):
                Filter(*given)


@given(st.text(max_size=20), st.sampled_from(["", "localhost", "127.0.0.1:80", "[::1]"]), st.booleans())
def test_only_localhost(text: str, known: str, before: bool) -> None:
    """Whatever is written around it, what is accepted is one of the three with a port."""
    host = text + known if before else known + text
    for header, origin in ((host, None), ("localhost", f"http://{host}")):
        try:
            hosts().check_host(header, origin, None)
        except Refusal:
            continue
        name, _, port = host.lower().partition(":") if host[0] != "[" else host.partition("]")
        assert name in ("localhost", "127.0.0.1", "[::1")
        assert port.strip(":").isdigit() or not port.strip(":")


@given(
    st.text("/abc.", max_size=6),
    st.lists(st.sampled_from(["^.*", ".*", "^/", "", "^/a", "b$", "^$", "^/a/.*c"]), max_size=3),
    st.lists(st.sampled_from(["^$", "/b", "", "c$", "^/a"]), max_size=3),
    st.lists(st.sampled_from(["^$", "^P", "E", "^GET$"]), max_size=2),
)
def test_like_filter_server(rest: str, accept: list[str], reject: list[str], methods: list[str]) -> None:
    """The shortcuts decide as kubectl's four lines do."""
    path = f"/{rest}"

    def matches(text: str, expressions: list[str]) -> bool:
        return any(re.search(expression, text) for expression in expressions)

    for method in ("GET", "POST"):
        expected = not matches(path, reject) and not matches(method, methods) and matches(path, accept)
        assert TestPaths.passes(Filter((), accept, reject, methods), method, path) == expected
