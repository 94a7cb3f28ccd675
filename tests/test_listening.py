"""kmetad.listening: who can connect, and what becomes of a name that somebody left behind."""

from __future__ import annotations

import errno
import os
import socket
import stat
import tempfile
from pathlib import Path

import pytest

from kmetad import listening
from tests.unprivileged import as_nobody


def reached(address: str, port: int) -> bool:
    """Whether somebody answers there."""
    try:
        socket.create_connection((address, port)).close()
    except OSError:
        return False
    return True


def test_a_port_that_is_free() -> None:
    """It is TCP, which asyncio looks at, and doesn't block."""
    with listening.tcp("127.0.0.1", 0) as made:
        assert reached(*made.getsockname())
        assert made.proto == socket.IPPROTO_TCP
        assert not made.getblocking()
        assert not made.get_inheritable()


@pytest.mark.skipif(not os.path.exists("/proc/net/if_inet6"), reason="no IPv6 here")
@pytest.mark.parametrize(("address", "both"), [("::", True), ("::1", False)])
def test_ipv6(address: str, both: bool) -> None:
    """Every address means those of IPv4, too."""
    with listening.tcp(address, 0) as made:
        port = made.getsockname()[1]
        assert reached("::1", port)
        assert reached("127.0.0.1", port) == both


def test_a_port_that_is_taken() -> None:
    """Is told, and no descriptor is left."""
    with listening.tcp("127.0.0.1", 0) as first:
        before = len(os.listdir("/proc/self/fd"))
        with pytest.raises(OSError, match="in use"):
            listening.tcp(*first.getsockname())
        assert len(os.listdir("/proc/self/fd")) == before


def test_for_its_owner_alone(tmp_path: Path) -> None:
    """Whatever the umask is."""
    path = str(tmp_path / "socket")
    before = os.umask(0)
    try:
        made = listening.unix(path)
    finally:
        os.umask(before)
    with made:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert stat.S_IMODE(os.fstat(made.fileno()).st_mode) == 0o600  # from its first moment on


def test_what_was_left_behind_is_replaced(tmp_path: Path) -> None:
    """A name that nobody listens at; one that somebody listens at isn't, nor is anything else."""
    path = tmp_path / "socket"
    listening.unix(str(path)).close()
    with listening.unix(str(path)), pytest.raises(OSError, match="in use"):
        listening.unix(str(path))
    path.unlink()
    path.write_text("a file")
    with pytest.raises(OSError, match="in use"):
        listening.unix(str(path))
    assert path.read_text() == "a file"


def test_one_that_is_not_ours_to_connect_to() -> None:
    """Somebody else's stays, whether or not they listen: who may not look can't know."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to be somebody else")
    with tempfile.TemporaryDirectory() as directory:
        os.chmod(directory, 0o777)
        path = Path(directory, "socket")

        def take() -> int | None:
            try:
                listening.unix(str(path)).close()
            except OSError as error:
                return error.errno
            return 0

        with listening.unix(str(path)):
            assert as_nobody(take) == errno.EADDRINUSE
        assert path.is_socket()


def test_the_name_goes_with_its_owner(tmp_path: Path) -> None:
    """But not one that another has by now."""
    path = str(tmp_path / "socket")
    with listening.unix(path):
        own = os.stat(path)
        os.unlink(path)
        with listening.unix(path):
            listening.remove(path, own)
            assert os.path.exists(path)
            listening.remove(path, os.stat(path))
            assert not os.path.exists(path)
    listening.remove(path, own)  # it has gone already
