"""Hostile requests: targets that say one thing to whoever checks them, and another to whoever gets them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.ambassador import PODS, WEB, Row, Upstream, ask, broken, check, passed, refused, sent

LAB = "/api/v1/namespaces/lab"
SECRET = f"{LAB}/secrets/s"
EXEC = f"{WEB}/exec?command=sh"


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    """One for all."""
    with Upstream() as running:
        yield running


def no(name: str, target: str | bytes, *statuses: int, method: str = "GET", **options: object) -> Row:
    """A target that is refused, with 400 if nothing else is said. It was read whole, so the connection goes on."""
    return refused(name, ask(method, target), *(statuses or (400,)), **options)


def garbled(name: str, target: str | bytes) -> Row:
    """A target that no parser takes for one."""
    return broken(name, ask("GET", target))


def yes(name: str, target: str, expected: str, **options: object) -> Row:
    """A target that is passed on as this one."""
    return passed(name, ask("GET", target), sent("GET", expected), **options)


DOTTED = [
    no("..", f"{PODS}/../secrets/s"),
    no(".. over a path that isn't there", f"/x/..{SECRET}"),
    no(".. twice", f"{PODS}/web/../../secrets/s"),
    no(".. at the end", f"{SECRET}/.."),
    no(".. and a slash at the end", f"{SECRET}/../"),
    no(".. at the beginning", f"/..{SECRET}"),
    no(".. alone", "/.."),
    no("..  before a query", f"{PODS}/..?watch=1"),
    no(".", f"{LAB}/./secrets/s"),
    no(". at the end", f"{SECRET}/."),
    no(". alone", "/."),
    no("./ at the beginning", f"/.{SECRET}"),
    no("//", f"{LAB}//secrets/s"),
    no("// at the beginning", f"/{SECRET}"),
    no("// at the end", f"{PODS}//"),
    no("// alone", "//"),
    no("///", f"//{SECRET}"),
    no("a host to some", "//evil.com/api"),
    no("an encoded .", f"{PODS}/%2e%2e/secrets/s"),
    no("an encoded . in capitals", f"{PODS}/%2E%2E/secrets/s"),
    no("half encoded", f"{PODS}/.%2e/secrets/s"),
    no("half encoded otherwise", f"{PODS}/%2e./secrets/s"),
    no("an encoded . alone", f"{LAB}/%2e/secrets/s"),
    no(".. with a parameter", f"{PODS}/..;/secrets/s"),
    no(".. and an encoded slash", f"{PODS}/..%2fsecrets/s"),
    no(".. and an encoded backslash", f"{PODS}/..%5csecrets/s"),
    no(".. and a backslash", f"{PODS}/..\\secrets/s"),
    no("..  and NUL", f"{PODS}/..%00/secrets/s"),
    yes("three dots", f"{PODS}/...", f"{PODS}/..."),
    yes("dots in a name", f"{PODS}/a..b.c.", f"{PODS}/a..b.c."),
    no("dots that are refused after all", f"{LAB}/secrets/..s", 403),
]


@pytest.mark.parametrize("row", DOTTED, ids=str)
def test_dotted_and_empty_parts(upstream: Upstream, row: Row) -> None:
    """Nothing is resolved or merged: a path that would need it is refused."""
    check(upstream, row)


ENCODED = [
    no("a slash", f"{LAB}%2fsecrets/s"),
    no("a slash in capitals", f"{LAB}%2Fsecrets/s"),
    no("a backslash", f"{LAB}%5csecrets/s"),
    no("NUL", f"{PODS}%00/../secrets/s"),
    no("NUL at the end", f"{WEB}%00"),
    no("LF", f"{WEB}%0a"),
    no("CR LF", f"{WEB}%0d%0aX:%20y"),
    no("a tab", f"{WEB}%09"),
    no("a space", f"{WEB}%20"),
    no("DEL", f"{WEB}%7f"),
    no("a semicolon", f"{WEB}%3bx"),
    no("a question mark", f"{WEB}%3fwatch=1"),
    no("a number sign", f"{WEB}%23x"),
    no("a percent sign", f"{LAB}%252fsecrets/s"),
    no("dots, encoded twice", f"{PODS}/%252e%252e/secrets/s"),
    no("dots, encoded three times", f"{PODS}/%25252e%25252e/secrets/s"),
    no("a percent sign that is encoded in parts", f"{PODS}/%25%32%65"),
    no("a slash as overlong UTF-8", f"{PODS}/..%c0%afsecrets/s"),
    no("dots as overlong UTF-8", f"{PODS}/%c0%ae%c0%ae/secrets/s"),
    no("dots as longer UTF-8", f"{PODS}/%e0%80%ae%e0%80%ae/secrets/s"),
    no("fullwidth dots", f"{PODS}/%ef%bc%8e%ef%bc%8e/secrets/s"),
    no("a fullwidth slash", f"{LAB}%ef%bc%8fsecrets/s"),
    no("a fraction slash", f"{LAB}%e2%81%84secrets/s"),
    no("a one dot leader", f"{PODS}/%e2%80%a4%e2%80%a4/secrets/s"),
    no("a long s", f"{LAB}/%c5%bfecrets/s"),
    no("half an encoding", f"{PODS}/a%"),
    no("half an encoding and a digit", f"{PODS}/a%2"),
    no("no hexadecimal digits", f"{PODS}/%zz"),
    no("IIS' own", f"{PODS}/%u002e%u002e/secrets/s"),
    no("digits with a sign", f"{PODS}/%+2e"),
    garbled("digits that aren't ASCII", f"{PODS}/%\xb2e"),
    no("a letter, for what is refused", f"{LAB}/%73ecrets/s", 403),
    no("all letters, for what is refused", f"{LAB}/%73%65%63%72%65%74%73/s", 403),
    no("a letter of exec", f"{WEB}/%65xec?command=sh", 403),
    no("a letter of a method's path", f"{LAB}/po%64s/web", 403, method="DELETE"),
    yes("letters", "/%61pi/v1/namespaces/lab/pods/%77e%62", WEB),
    yes("signs", f"{PODS}/%7e%2d%5f%2c%40", f"{PODS}/~-_,@"),
    yes("a name", f"{LAB}/pods/we%62%3a1", f"{LAB}/pods/web:1"),
]


@pytest.mark.parametrize("row", ENCODED, ids=str)
def test_encoded_paths(upstream: Upstream, row: Row) -> None:
    """What can be decoded without a second meaning is; what was checked is sent, and it holds no % at all."""
    check(upstream, row)


ODD = [
    no("a parameter of a part", f"{PODS};x=y/web"),
    no("a parameter at the end", f"{WEB};"),
    no("a parameter with a session", f"{WEB};jsessionid=1"),
    no("a backslash", f"{LAB}\\secrets\\s"),
    garbled("a backslash at the beginning", f"\\{SECRET}"),
    no("a quotation mark", f'{PODS}/"web"'),
    no("an angle bracket", f"{PODS}/<web>"),
    no("a caret", f"{PODS}/^web"),
    no("a brace", f"{PODS}/{{web}}"),
    no("a bar", f"{PODS}/a|b"),
    no("a grave accent", f"{PODS}/`web`"),
    no("a bracket", f"{PODS}/[web]"),
    no("a number sign", f"{WEB}#/../../secrets"),
    no("a number sign before a query", f"{WEB}#?watch=1"),
    garbled("bytes above ASCII", f"{PODS}/\xff"),
    garbled("UTF-8", f"{PODS}/w\u00e9b".encode()),
    garbled("NUL", f"{PODS}\0/web"),
    garbled("a tab", f"{PODS}\t/web"),
    garbled("a space", f"{WEB} {SECRET}"),
    garbled("a form feed", f"{PODS}\x0c/web"),
    garbled("BEL", f"{PODS}\x07/web"),
    garbled("DEL", f"{PODS}\x7f/web"),
    yes("a slash at the end", f"{PODS}/", f"{PODS}/"),
    no("a slash at the end of what is refused", f"{SECRET}/", 403),
    no("another case", f"{LAB}/Secrets/s", 403, allow=("get:secrets",)),
    no("another version", "/api/v2/namespaces/lab/secrets/s", 403),
    no("the old form of a proxy", "/api/v1/proxy/namespaces/lab/pods/web", 403),
    no("the old form of a watch", "/api/v1/watch/namespaces/lab/secrets", 403),
    no("the old form of a watch, deleting", "/api/v1/watch/namespaces/lab/pods", 405, method="DELETE",
        allow_write=True),
    no("a namespace called like a Secret", "/api/v1/namespaces/secrets/secrets", 403),
    no("exec", EXEC, 403),
    no("proxy and more", f"{WEB}/proxy/a/b", 403),
    no("a Pod's Secret", f"{WEB}/../../secrets/s"),
    no("outside of the prefix", WEB, 404, api_prefix="/k8s/"),
    no("out of the prefix", f"/k8s/..{WEB}", api_prefix="/k8s/"),
    no("the prefix alone, without its slash", "/k8s", 404, api_prefix="/k8s/"),
    no("what only begins like the prefix", f"/k8sx{WEB}", 404, api_prefix="/k8s/"),
    no("the prefix twice", f"/k8s/k8s{SECRET}", 403, api_prefix="/k8s/", allow=("get:secrets",)),
    no("the prefix, encoded, before what is refused", f"/%6b8s{SECRET}", 403, api_prefix="/k8s/"),
    passed("within the prefix", ask("GET", f"/k8s{WEB}") + ask("GET", f"/%6b8s{WEB}"),
        *[sent("GET", WEB)] * 2,
        api_prefix="/k8s/"),
]  # fmt: skip


@pytest.mark.parametrize("row", ODD, ids=str)
def test_odd_paths(upstream: Upstream, row: Row) -> None:
    """Characters that no path of the API has, and paths that lead to what isn't allowed."""
    check(upstream, row)


QUERIES = [
    no("NUL", f"{PODS}?a=%00"),
    no("a semicolon", f"{PODS}?a=1;watch=1"),
    no("a number sign", f"{PODS}?a=1#b"),
    no("half an encoding", f"{PODS}?a=%2"),
    no("no hexadecimal digits", f"{PODS}?watch=%zz"),
    no("no UTF-8", f"{PODS}?fieldSelector=%ff"),
    no("overlong UTF-8", f"{PODS}?a=%c0%af"),
    garbled("bytes above ASCII", f"{PODS}?a=\xe9"),
    no("a quotation mark", f'{PODS}?a="b"'),
    no("a brace", f"{PODS}?a={{b}}"),
    no("a backslash", f"{PODS}?a=\\b"),
    no("watch twice", f"{PODS}?watch=0&watch=1"),
    no("watch twice, once encoded", f"{PODS}?watch=0&%77atch=1"),
    no("a field selector twice", f"{PODS}?fieldSelector=metadata.name=web&fieldSelector=",
        allow=("list:pods:lab:web",)),
    no("watch that is neither", f"{PODS}?watch=fal%C5%BFe"),
    no("a selector for another name", f"{PODS}?fieldSelector=metadata.name=db", 403,
        allow=("list:pods:lab:web",)),
    no("a selector for all but one", f"{PODS}?fieldSelector=metadata.name!=web", 403,
        allow=("list:pods:lab:web",)),
    no("a selector in another case", f"{PODS}?FieldSelector=metadata.name=web", 403,
        allow=("list:pods:lab:web",)),
    no("a selector in an encoded query", f"{PODS}%3ffieldSelector=metadata.name=web",
        allow=("list:pods:lab:web",)),
    no("a watch that isn't allowed", f"{PODS}?%77atch=%74rue", 403, allow=("list:pods:lab",)),
    no("a command in the query", f"{WEB}/exec?command=%2Fbin%2Fsh", 403),
    yes("encoded", f"{PODS}?a=%2f..%2f%25%3B", f"{PODS}?a=%2f..%2f%25%3B"),
    yes("question marks", f"{PODS}?a=?/../", f"{PODS}?a=?/../"),
    yes("empty", f"{PODS}?", PODS),
    yes("a whole URL", f"{PODS}?a=http://evil.com/", f"{PODS}?a=http://evil.com/"),
    yes("a selector that is allowed", f"{PODS}?fieldSelector=metadata.name%3Dweb",
        f"{PODS}?fieldSelector=metadata.name%3Dweb", allow=("list:pods:lab:web",)),
]  # fmt: skip


@pytest.mark.parametrize("row", QUERIES, ids=str)
def test_queries(upstream: Upstream, row: Row) -> None:
    """A query is passed on as it came; one that could be read in two ways isn't."""
    check(upstream, row)


ABSOLUTE = [
    no("this host", f"http://localhost:8001{WEB}"),
    no("this host, without a port", f"http://localhost{WEB}"),
    no("the upstream's", f"https://127.0.0.1:6443{WEB}"),
    no("another host", f"http://evil.com{WEB}"),
    no("another scheme", f"ftp://localhost{WEB}"),
    no("a file", "file:///etc/passwd"),
    no("capitals", f"HTTP://LOCALHOST{WEB}"),
    no("a user", f"http://user:password@localhost{WEB}"),
    no("a user that looks like this host", f"http://localhost@evil.com{WEB}"),
    no("no path", "http://localhost"),
    no("no host", f"http://{WEB}"),
    no("three slashes", f"http:///{WEB}"),
    no("the metadata of a cloud", "http://169.254.169.254/latest/meta-data/"),
    no("what is refused", f"http://localhost{SECRET}"),
    no("with another Host", f"http://localhost{WEB}"),
    no("a path of an absolute form", f"/http://evil.com{WEB}"),
    no("dots before it", f"/../http://evil.com{WEB}"),
    no("the proxy's own health", "http://localhost/healthz"),
    garbled("one slash", f"http:/localhost{WEB}"),
    garbled("no slash", f"http:localhost{WEB}"),
    garbled("backslashes", f"http:\\\\localhost{WEB}"),
    garbled("more behind it", f"http://localhost{WEB} x"),
    refused("another host, and a good Host", ask("GET", f"http://evil.com{WEB}", host="localhost"), 400),
    refused("this host, and a bad Host", ask("GET", f"http://localhost{WEB}", host="evil.com"), 403),
]


@pytest.mark.parametrize("row", ABSOLUTE, ids=str)
def test_absolute_form(upstream: Upstream, row: Row) -> None:
    """This is no forward proxy: a whole URL is never a target here, not even with its own name in it."""
    check(upstream, row)


AUTHORITY = [
    no("*", "*", method="OPTIONS"),
    no("GET *", "*"),
    no("a host with CONNECT", "evil.com:443", method="CONNECT", closes=True),
    no("this host with CONNECT", "localhost:8001", method="CONNECT", closes=True),
    no("the upstream with CONNECT", "127.0.0.1:6443", method="CONNECT", closes=True),
    no("an IPv6 address with CONNECT", "[::1]:443", method="CONNECT", closes=True),
    no("a name without a port with CONNECT", "localhost", method="CONNECT", closes=True),
    broken("a URL with CONNECT", ask("CONNECT", f"http://localhost{WEB}")),
    broken("a path with CONNECT", ask("CONNECT", WEB), 405),
    broken("* with CONNECT", ask("CONNECT", "*")),
    broken("a host with GET", ask("GET", "localhost:8001")),
    broken("a path without a slash", ask("GET", WEB[1:])),
    broken("a query alone", ask("GET", "?watch=1")),
    broken("a number sign alone", ask("GET", "#")),
    no("**", "**"),
    no("* and a path", f"*{WEB}"),
    broken("CONNECT, and a request behind it", ask("CONNECT", "localhost:8001", body=ask("GET", WEB)), 400),
    broken("CONNECT to switch", ask("CONNECT", "localhost:8001", "Connection: upgrade", "Upgrade: websocket"),
        400),
    broken("CONNECT to switch to what isn't known",
        ask("CONNECT", "localhost:1", "Connection: upgrade", "Upgrade: x"), 400),
    broken("CONNECT with a body", ask("CONNECT", "localhost:8001", "Content-Length: 5", body=b"hello"), 400),
]  # fmt: skip


@pytest.mark.parametrize("row", AUTHORITY, ids=str)
def test_authority_form(upstream: Upstream, row: Row) -> None:
    """Neither a host, nor the server as a whole, can be asked for; there is no tunnel to anywhere."""
    check(upstream, row)
