"""A service account's mount, as whoever calls the API server reads it."""

from __future__ import annotations

import os
import re
from functools import partial
from pathlib import Path

import pytest

from kmetad._sources.serviceaccount import Secret
from kmetad.api import CredentialsError, Mounted
from kmetad.api.credentials import NO_HEADERS, NOBODY, bearer
from kmetad.testing.kubelet import ServiceAccountVolume, token
from tests.unprivileged import as_nobody

FIRST, SECOND = token(expires=2_000_000_000), token(expires=2_000_000_500)


@pytest.fixture
def volume(tmp_path: Path) -> ServiceAccountVolume:
    """One as the kubelet writes it."""
    made = ServiceAccountVolume(tmp_path / "account", namespace="lab")
    made.rotate(FIRST)
    return made


def why_not(path: str) -> str:
    """What is wrong with a mount."""
    with pytest.raises(CredentialsError) as caught:
        Mounted(path).headers()
    return str(caught.value)


def sent(mounted: Mounted) -> str:
    """The token that would be sent."""
    return mounted.headers()["Authorization"].removeprefix("Bearer ")


def test_what_it_holds(volume: ServiceAccountVolume) -> None:
    """Token, CA, namespace, and what the token says of itself."""
    mounted = Mounted(str(volume.path))
    assert sent(mounted) == FIRST
    assert mounted.namespace == "lab"
    assert mounted.trust().ca == Path(volume.path, "ca.crt").read_bytes()
    claims = mounted.token()
    assert claims is not None and claims.expires == 2_000_000_000
    assert claims.audiences == ("https://kubernetes.default.svc.cluster.local",)


def test_it_is_followed(volume: ServiceAccountVolume) -> None:
    """A swap is seen by the next request, of token and CA alike."""
    mounted = Mounted(str(volume.path))
    assert sent(mounted) == FIRST
    volume.rotate(SECOND)
    assert sent(mounted) == SECOND
    volume.file("ca.crt", "another")
    assert mounted.trust().ca == b"another"


def test_it_is_read_when_it_has_changed(
    volume: ServiceAccountVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a swap a request costs one readlink, and no file is opened."""
    mounted = Mounted(str(volume.path))
    mounted.headers()

    def no_open(*arguments: object, **named: object) -> int:
        raise AssertionError(f"opened {arguments}")

    monkeypatch.setattr(os, "open", no_open)
    assert sent(mounted) == FIRST
    assert mounted.trust().ca


HALVES = {
    "nothing": "",
    "a line's end": "\n",
    "its beginning": FIRST[:40],
    "no signature": FIRST.rpartition(".")[0],
    "garbage": "garbage",
    "no header": "a.b.c",
}


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES)
def test_what_is_no_whole_token_is_passed_over(volume: ServiceAccountVolume, half: str) -> None:
    """Empty or half-written: the one before goes on, and the next whole one is taken."""
    mounted = Mounted(str(volume.path))
    assert sent(mounted) == FIRST
    volume.rotate(half)
    assert sent(mounted) == FIRST
    assert not mounted.renew(mounted.headers())
    volume.rotate(SECOND)
    assert sent(mounted) == SECOND


def test_an_empty_ca_is_passed_over(volume: ServiceAccountVolume) -> None:
    """The one before goes on."""
    mounted = Mounted(str(volume.path))
    before = mounted.trust()
    volume.file("ca.crt", "")
    assert mounted.trust() == before


def test_without_the_volume_the_last_token_goes_on(volume: ServiceAccountVolume, tmp_path: Path) -> None:
    """The server may still accept it; where there was never one, that is said."""
    mounted = Mounted(str(volume.path))
    assert sent(mounted) == FIRST
    os.rename(volume.path, tmp_path / "away")
    assert sent(mounted) == FIRST
    with pytest.raises(CredentialsError, match="isn't there"):
        Mounted(str(volume.path)).headers()
    os.rename(tmp_path / "away", volume.path)


def test_renewing(volume: ServiceAccountVolume) -> None:
    """After a refusal: whether there is another token by now, also one that another thread has read already."""
    mounted = Mounted(str(volume.path))
    headers = mounted.headers()
    assert not mounted.renew(headers)
    volume.rotate(SECOND)
    assert mounted.headers() != headers
    assert mounted.renew(headers)
    assert not mounted.renew(mounted.headers())


def test_a_refusal_reads_what_looks_the_same(tmp_path: Path) -> None:
    """Another token of the same size and time, as on a file system with coarse times."""
    for name, content in (("token", FIRST), ("ca.crt", "a CA"), ("namespace", "lab")):
        (tmp_path / name).write_text(content)
    mounted = Mounted(str(tmp_path))
    headers, state = mounted.headers(), (tmp_path / "token").stat()
    assert len(SECOND) == len(FIRST)
    (tmp_path / "token").write_text(SECOND)
    os.utime(tmp_path / "token", ns=(state.st_atime_ns, state.st_mtime_ns))
    assert mounted.headers() == headers
    assert mounted.renew(headers)
    assert sent(mounted) == SECOND
    (tmp_path / "namespace").unlink()
    mounted.reread()
    assert mounted.namespace == "lab" and mounted.token() is not None


def test_a_plain_directory(tmp_path: Path) -> None:
    """Without swaps, as in a test or under systemd, each file's time and size are looked at."""
    (tmp_path / "token").write_text(FIRST + "\n")
    (tmp_path / "ca.crt").write_text("a CA")
    mounted = Mounted(str(tmp_path))
    assert sent(mounted) == FIRST
    assert mounted.namespace == ""
    (tmp_path / "token").write_text(SECOND)
    assert sent(mounted) == SECOND


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({"ca.crt": "a CA"}, "token holds no whole token"),
        ({"token": "", "ca.crt": "a CA"}, "token holds no whole token"),
        ({"token": FIRST}, "ca.crt isn't there, or empty"),
        (
            {"token": "\n" + FIRST.replace(".", "\r\nX: y.", 1), "ca.crt": "a CA"},
            "something that is no token",
        ),
    ],
)
def test_what_is_missing(tmp_path: Path, files: dict[str, str], why: str) -> None:
    """It says which file lacks what, and never what the file holds."""
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    mounted = Mounted(str(tmp_path))
    with pytest.raises(CredentialsError, match=why) as caught:
        assert mounted.trust() and mounted.headers()
    assert FIRST[:20] not in str(caught.value)


def test_a_token_that_may_not_be_read(volume: ServiceAccountVolume, tmp_path: Path) -> None:
    """The file and the remedy are named."""
    for directory in (tmp_path, *tmp_path.parents):
        directory.chmod(directory.stat().st_mode | 0o055)
    for file in ("token", "ca.crt"):
        path = Path(volume.path, "..data", file)
        path.chmod(0)
        assert re.search(f"account/{file}: permission", as_nobody(partial(why_not, str(volume.path))))
        path.chmod(0o644)


def test_what_no_token_is_made_of() -> None:
    """It doesn't get as far as an HTTP library, whose error would show it."""
    for text in ("a b", "a\r\nX: y", "\udcff", "", "ä"):
        with pytest.raises(CredentialsError, match="here holds something that is no token") as caught:
            bearer(text, "here")
        assert not text or text not in str(caught.value)


def test_secrets_have_no_repr(volume: ServiceAccountVolume) -> None:
    """Whatever prints values, a traceback's or a test's, prints none of these."""
    mounted = Mounted(str(volume.path))
    for shown in (
        repr(mounted),
        repr(mounted.headers()),
        repr(mounted.token()),
        repr(vars(mounted)),
        str(mounted),
    ):
        assert FIRST not in shown and FIRST.split(".")[2] not in shown
    assert f"{Secret('x')!r}" == "<secret>"


def test_nobody() -> None:
    """Sends nothing, trusts what the system does."""
    assert NOBODY.headers() is NO_HEADERS
    assert NOBODY.trust().ca is None and NOBODY.token() is None
    assert not NOBODY.renew({})
