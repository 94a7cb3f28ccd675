"""kmetad._sources.serviceaccount: namespace, CA and token, without the token."""

from __future__ import annotations

import base64
import gc
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kmetad._sources.content import NOTHING, Content, Source
from kmetad._sources.serviceaccount import ServiceAccount
from kmetad.errors import SourceLost, SourceUnreadable
from kmetad.metadata import EMPTY, Token
from kmetad.testing.kubelet import ServiceAccountVolume, token
from tests.unprivileged import as_nobody

KEY = b"k" * 32
RECORDED = json.loads((Path(__file__).parent / "data" / "kubelet" / "tokenrequest.claims.json").read_text())


@pytest.fixture
def mount(tmp_path: Path) -> ServiceAccountVolume:
    """The mount, not written yet."""
    return ServiceAccountVolume(tmp_path / "serviceaccount", namespace="lab")


def account(mount: ServiceAccountVolume) -> ServiceAccount:
    """A source that reads the mount."""
    return ServiceAccount("token", mount.path, KEY)


def jwt(claims: object, signature: str = "c2ln") -> str:
    """A token with these claims."""

    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': 'RS256'})}.{part(claims)}.{signature}"


def the_token(content: Content) -> Token:
    """The only token of a reading."""
    assert list(content.tokens) == ["token"]
    return content.tokens["token"]


def test_it_is_a_source(mount: ServiceAccountVolume) -> None:
    """It has what a watcher asks of a source."""
    source: Source = account(mount)
    assert (source.name, source.path, source.swapped) == ("token", mount.path, True)


def test_all_three(mount: ServiceAccountVolume) -> None:
    """Namespace, a digest of the CA, and what may be known of the token."""
    mount.rotate(token(expires=2_000_000_000, warn_after=1_900_000_000, audiences=["api", "vault"]))
    source = account(mount)
    content = source.read(NOTHING)
    assert content.fields == {"metadata.namespace": "lab"}
    assert list(content.trust) == ["token"]
    assert the_token(content).expires == 1_900_000_000
    assert the_token(content).audiences == ("api", "vault")
    assert content.fingerprint == mount.generation == source.fingerprint()
    assert content.swapped_ns == os.stat(f"{mount.path}/..data").st_mtime_ns
    assert content.faults == content.unreadable == ()


def test_recorded_claims(mount: ServiceAccountVolume) -> None:
    """The claims that a real API server mints."""
    mount.rotate(jwt(RECORDED["claims"]))
    seen = the_token(account(mount).read(NOTHING))
    assert seen.expires == RECORDED["claims"]["exp"]
    assert seen.audiences == ("https://kubernetes.default.svc.cluster.local", "lab")


@pytest.mark.parametrize(
    ("claims", "expires", "audiences"),
    [
        ({}, None, ()),
        ({"exp": 5}, 5, ()),
        ({"exp": 5.9}, 5, ()),
        ({"exp": 5, "kubernetes.io": {"warnafter": 9}}, 5, ()),
        ({"exp": 9, "kubernetes.io": {"warnafter": 5}}, 5, ()),
        ({"kubernetes.io": {"warnafter": 5}}, 5, ()),
        ({"exp": "5", "kubernetes.io": []}, None, ()),
        ({"exp": None, "kubernetes.io": {"warnafter": {}}}, None, ()),
        ({"exp": float("inf")}, None, ()),
        ({"exp": float("nan")}, None, ()),
        ({"exp": 10**300}, None, ()),
        ({"aud": "api"}, None, ("api",)),
        ({"aud": ["a", 1, None, "b"]}, None, ("a", "b")),
        ({"aud": {"a": "b"}}, None, ()),
    ],
)
def test_claims(
    mount: ServiceAccountVolume, claims: object, expires: int | None, audiences: tuple[str, ...]
) -> None:
    """The earlier of exp and warnafter; audiences as one text or a list; what is neither is as if it weren't there."""
    mount.rotate(jwt(claims))
    content = account(mount).read(NOTHING)
    assert the_token(content).expires == expires
    assert the_token(content).audiences == audiences
    assert content.faults == ()


def test_rotation(mount: ServiceAccountVolume) -> None:
    """Another token has another digest, even with the same claims; the rest is shared."""
    mount.rotate(jwt({"exp": 5}))
    source = account(mount)
    first = source.read(NOTHING)
    mount.rotate(jwt({"exp": 5}, signature="b3RoZXI"))
    second = source.read(first)
    assert the_token(second).expires == the_token(first).expires
    assert the_token(second).digest != the_token(first).digest
    assert second.trust is first.trust
    assert second.fields is first.fields
    third = source.read(second)
    assert third.tokens is second.tokens


def test_another_ca(mount: ServiceAccountVolume) -> None:
    """A renewed CA is another digest; the token stays what it was."""
    mount.rotate()
    source = account(mount)
    first = source.read(NOTHING)
    mount.file("ca.crt", "another")
    second = source.read(first)
    assert second.trust != first.trust
    assert second.tokens is first.tokens


@pytest.mark.parametrize(
    "half",
    ["", "\n", "SECRET", "SECRET.SECRET", "..", "a..b", "a.b.c.d", "é.é.é", "a.!!!.b", "a.e30.", "a.W10.b", "a.MQ.b"]
    + ["a.bnVsbA.b", "a.IlNFQ1JFVCI.b", "a.gICA.b", "a.eyJTRUNSRVQiOiA.b", "a." + "W1tb" * 20_000 + ".b"],
)  # fmt: skip
def test_half_written(mount: ServiceAccountVolume, half: str) -> None:
    """A token that is empty, half-written or no token at all is a fault that shows nothing; the one before stays."""
    mount.rotate()
    source = account(mount)
    first = source.read(NOTHING)
    mount.rotate(half)
    second = source.read(first)
    assert second.tokens is first.tokens
    assert second.faults == (
        f"{mount.path}/token: no whole token (empty, or half-written); the one before is kept",
    )
    assert account(mount).read(NOTHING).tokens == EMPTY


@given(st.binary(max_size=200) | st.text("abcXYZ019-_.={}", max_size=60).map(str.encode))
def test_any_token(content: bytes) -> None:
    """No bytes of a token are ever an error."""
    with tempfile.TemporaryDirectory() as path:
        Path(path, "token").write_bytes(content)
        ServiceAccount("token", path, KEY).read(NOTHING)


def test_empty_ca_and_wrong_namespace(mount: ServiceAccountVolume) -> None:
    """Likewise for the other two."""
    mount.rotate()
    source = account(mount)
    first = source.read(NOTHING)
    mount.update(files={"ca.crt": "", "namespace": "No Namespace"})
    second = source.read(first)
    assert second.trust is first.trust
    assert second.fields is first.fields
    assert [fault.partition(":")[0] for fault in second.faults] == [
        f"{mount.path}/ca.crt",
        f"{mount.path}/namespace",
    ]


def test_removed_files(mount: ServiceAccountVolume) -> None:
    """A file that is no longer there says nothing any more."""
    mount.rotate()
    source = account(mount)
    first = source.read(NOTHING)
    mount.write(files={"other": "x"})
    second = source.read(first)
    assert (second.tokens, second.trust, second.fields) == (EMPTY, EMPTY, EMPTY)
    assert second.faults == ()


def test_a_large_ca(mount: ServiceAccountVolume) -> None:
    """A bundle of many certificates counts to its last byte."""
    mount.rotate()
    mount.file("ca.crt", b"x" * 300_000 + b"1")
    source = account(mount)
    first = source.read(NOTHING)
    mount.file("ca.crt", b"x" * 300_000 + b"2")
    assert source.read(first).trust != first.trust


def test_digests_are_keyed(mount: ServiceAccountVolume) -> None:
    """With another key all digests are different."""
    mount.rotate()
    one = ServiceAccount("token", mount.path, b"1").read(NOTHING)
    other = ServiceAccount("token", mount.path, b"2").read(NOTHING)
    assert the_token(one).digest != the_token(other).digest
    assert one.trust != other.trust


def test_the_value_never_stays(mount: ServiceAccountVolume) -> None:
    """Neither the source nor its readings hold the token, or any part of it, anywhere."""
    value = token()
    mount.rotate(value)
    source = account(mount)
    first = source.read(NOTHING)
    mount.rotate("SECRET")
    second = source.read(first)
    parts = [*value.split("."), "SECRET"]
    for held in everything_in([source, first, second]):
        text = held.decode("latin-1") if isinstance(held, bytes) else held
        assert not any(part in text for part in parts)


def everything_in(roots: list[Any]) -> Iterator[str | bytes]:
    """All texts and bytes that can be reached from some objects, but for code."""
    waiting, seen = list(roots), set()
    while waiting:
        here = waiting.pop()
        if id(here) in seen or isinstance(here, (type, ModuleType, FunctionType, BuiltinFunctionType)):
            continue
        seen.add(id(here))
        if isinstance(here, (str, bytes)):
            yield here
        waiting += gc.get_referents(here)


def test_lost(mount: ServiceAccountVolume) -> None:
    """Without the mount it is lost, before and after."""
    source = account(mount)
    with pytest.raises(SourceLost):
        source.read(NOTHING)
    mount.rotate()
    content = source.read(NOTHING)
    mount.remove()
    os.mkdir(mount.path)
    with pytest.raises(SourceLost, match="is gone"):
        source.read(content)
    with pytest.raises(SourceLost):
        source.fingerprint()


def test_unreadable() -> None:
    """A token for another user says so and keeps its value; the other files go on."""
    above = Path(tempfile.mkdtemp(prefix="kmetad-"))
    try:
        above.chmod(0o755)
        mount = ServiceAccountVolume(above / "serviceaccount", namespace="lab")
        mount.rotate()
        source = account(mount)
        first = source.read(NOTHING)
        mount.rotate()
        mount.file("namespace", "shop")
        os.chmod(f"{mount.path}/..data/token", 0o000)

        def look() -> tuple[bool, dict[str, str], tuple[str, ...]]:
            content = source.read(first)
            return content.tokens is first.tokens, dict(content.fields), content.unreadable

        same, fields, unreadable = as_nobody(look)
        assert same
        assert fields == {"metadata.namespace": "shop"}
        assert len(unreadable) == 1
        assert unreadable[0].startswith(f"{mount.path}/..data/token: permission denied: it is a file")
        os.chmod(mount.path, 0o000)

        def refused() -> str:
            with pytest.raises(SourceUnreadable) as caught:
                source.read(first)
            return str(caught.value)

        assert "mode 0000" in as_nobody(refused)
        os.chmod(mount.path, 0o755)
    finally:
        shutil.rmtree(above)
