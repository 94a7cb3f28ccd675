"""Which Host a request may name.

A page of anybody's that is open in a browser on this machine could otherwise read all of this, by a name of its
own that it lets point at 127.0.0.1 (DNS rebinding). It can't do so by an IP address, nor by ``localhost``.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from ipaddress import ip_address

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")


def host_name(text: str) -> str | None:
    """The name or address of a Host header's value, in lower case, without its port; None where it holds none."""
    found = _HOST.fullmatch(text)
    return None if found is None else found[1].lower().rstrip(".")


def is_known(text: str, names: Collection[str]) -> bool:
    """Whether a Host header's value is an IP address, localhost, or one of these names (in lower case)."""
    name = host_name(text)
    if name is None:
        return False
    if name == "localhost" or name in names:
        return True
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
