"""Where the status socket is."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path

import pytest

from kmetad._daemon.places import FALLBACK, NAME, places, reach


def test_the_order() -> None:
    """The TOML's directory, then systemd's, the user's, and last the fallback."""
    environ = {"RUNTIME_DIRECTORY": "/run/a:/run/b", "XDG_RUNTIME_DIR": "/run/user/1000"}
    assert [str(place) for place in places("/var/lib/kmetad", environ)] == [
        "/var/lib/kmetad ([state] dir)",
        "/run/a ($RUNTIME_DIRECTORY)",
        "/run/b ($RUNTIME_DIRECTORY)",
        "/run/user/1000 ($XDG_RUNTIME_DIR)",
        FALLBACK,
    ]
    assert [place.directory for place in places(None, {})] == [FALLBACK]


def test_each_directory_once() -> None:
    """However it is named: a daemon must not find its own socket in the next place."""
    environ = {"RUNTIME_DIRECTORY": f"{FALLBACK}/", "XDG_RUNTIME_DIR": "/run/./kmetad"}
    (place,) = places(None, environ)
    assert (place.directory, place.named_by) == (f"{FALLBACK}/", "$RUNTIME_DIRECTORY")


@pytest.mark.parametrize("value", ["", ":", "run", "./run", "run:also"])
def test_what_is_no_absolute_path_means_nothing(value: str) -> None:
    """As the XDG Base Directory Specification has it."""
    assert [p.directory for p in places(value, {"RUNTIME_DIRECTORY": value, "XDG_RUNTIME_DIR": value})] == [
        FALLBACK
    ]
    assert [p.directory for p in places("/a\0b", {})] == [FALLBACK]


@pytest.mark.parametrize("length", [96, 107, 108, 250, 2000])
def test_a_path_of_any_length(length: int, tmp_path: Path) -> None:
    """A socket's address holds 107 bytes (unix(7)); longer ones are reached by another way."""
    directory = str(tmp_path)
    while len(directory) < length - len(NAME) - 1:
        missing = length - len(NAME) - 2 - len(directory)
        directory += "/" + "d" * max(1, min(200, missing))
        os.mkdir(directory)
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        reach(directory, server.bind)
        server.listen()
        assert os.path.lexists(f"{directory}/{NAME}")
        reach(directory, client.connect)
        connection, _ = server.accept()
        connection.close()


def test_a_path_that_is_too_long_without_proc(tmp_path: Path) -> None:
    """Refused, with the reason."""
    directory = f"{tmp_path}/{'d' * 200}"
    os.mkdir(directory)
    with socket.socket(socket.AF_UNIX) as server:
        with pytest.raises(OSError, match="there is no /proc") as raised:
            reach(directory, server.bind, descriptors=f"{tmp_path}/none")
        assert raised.value.errno == errno.ENAMETOOLONG
    assert os.listdir(directory) == []


def test_no_descriptor_is_left_behind(tmp_path: Path) -> None:
    """Neither where it works nor where it fails."""
    directory = f"{tmp_path}/{'d' * 200}"
    os.mkdir(directory)
    before = os.listdir("/proc/self/fd")
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        reach(directory, server.bind)
        with pytest.raises(ConnectionRefusedError):
            reach(directory, client.connect)
    assert os.listdir("/proc/self/fd") == before
