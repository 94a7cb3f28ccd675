"""What ``[plugins.NAME]`` with ``use = "status"`` may hold."""

from __future__ import annotations

import os
from datetime import timedelta
from ipaddress import ip_address

import msgspec

from kmetad_status.hosts import host_name

PORT = 9478

_LONGEST_SOCKET = 107
"""Bytes of a unix socket's path (unix(7): sun_path, with a NUL at its end)."""
_LEAST_HISTORY, _MOST_HISTORY = 100, 10_000


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``[plugins.status]``. Raises ValueError."""

    address: str = "127.0.0.1"
    """An IP address to listen at."""
    port: int = PORT
    """0: any that is free."""
    unix_socket: str | None = None
    """Listen there instead, for this user alone."""
    hosts: tuple[str, ...] = ()
    """Names by which it may be asked, beside IP addresses and localhost; without a port."""
    lag_limit: timedelta = timedelta()
    """``/readyz`` fails, too, where an instance has been behind for longer. 0: it never does for that."""
    history: int = 2000
    """Events that are kept at most; 2 MiB of them at most, whatever this says."""

    def __post_init__(self) -> None:
        self._check_address()
        if self.unix_socket is not None:
            self._check_socket(self.unix_socket)
        for name in self.hosts:
            if host_name(name) != name.lower().rstrip(".") or not name:
                raise ValueError(
                    f"hosts: {name!r} is no host's name: it stands alone, without scheme, port and path, "
                    "as web.lab.svc"
                )
        if self.lag_limit < timedelta():
            raise ValueError("lag_limit can't be less than nothing; 0s is for no limit")
        if not _LEAST_HISTORY <= self.history <= _MOST_HISTORY:
            raise ValueError(
                f"history: {self.history} events can't be kept; expected {_LEAST_HISTORY} to {_MOST_HISTORY}"
            )

    @property
    def loopback(self) -> bool:
        """Whether nobody but this machine (this Pod) comes to where it listens."""
        address = ip_address(self.address)
        mapped = getattr(address, "ipv4_mapped", None)
        return self.unix_socket is not None or (mapped or address).is_loopback

    def _check_address(self) -> None:
        try:
            ip_address(self.address)
        except ValueError:
            raise ValueError(f"address: {self.address!r} is no IP address{_hint(self.address)}") from None
        if not 0 <= self.port <= 65535:
            raise ValueError(f"port: {self.port} is no port; 0 takes any that is free")

    def _check_socket(self, path: str) -> None:
        if self.address != "127.0.0.1" or self.port != PORT:
            raise ValueError(
                "unix_socket is listened at instead of address and port: leave out that, or these"
            )
        if not path or "\0" in path:
            raise ValueError(f"unix_socket: {path!r} is no path")
        if len(os.fsencode(path)) > _LONGEST_SOCKET:
            raise ValueError(
                f"unix_socket: {path} is longer than the {_LONGEST_SOCKET} bytes that a socket's path may have; "
                "put it into a directory with a shorter one"
            )


def _hint(found: str) -> str:
    """What may have been meant; empty for anything else."""
    meant = {"localhost": "127.0.0.1", "": "0.0.0.0", "*": "0.0.0.0"}.get(found, found.strip("[]"))
    try:
        return f"; did you mean {ip_address(meant)}?"
    except ValueError:
        return ""
