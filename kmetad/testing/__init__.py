"""The test kit: for kmetad's own tests, and for everybody who writes a plugin.

- ``Volume``, ``ServiceAccountVolume``: a simulated kubelet's volumes, real files and real swaps.
- ``Host``: one plugin, fed with changes.
- ``token``, ``encode``, ``quote``: the bytes that Kubernetes writes into them.

Installing kmetad brings pytest fixtures along; see ``kmetad.testing.pytest_plugin``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kmetad.testing.host import Host as Host
    from kmetad.testing.kubelet import ServiceAccountVolume as ServiceAccountVolume
    from kmetad.testing.kubelet import Volume as Volume
    from kmetad.testing.kubelet import encode as encode
    from kmetad.testing.kubelet import quote as quote
    from kmetad.testing.kubelet import token as token

_HOME_OF = {
    "Host": "kmetad.testing.host",
    "ServiceAccountVolume": "kmetad.testing.kubelet",
    "Volume": "kmetad.testing.kubelet",
    "encode": "kmetad.testing.kubelet",
    "quote": "kmetad.testing.kubelet",
    "token": "kmetad.testing.kubelet",
}

__all__ = list(_HOME_OF)


def __getattr__(name: str) -> Any:
    """PEP 562: import a name's home when somebody asks for it; pytest loads this package in every project."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
