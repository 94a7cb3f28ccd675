"""A service account's volume, as the kubelet mounts it into a Pod of this server."""

from __future__ import annotations

import os
from pathlib import Path

from kmetad.testing import ServiceAccountVolume


class Mount:
    """The directory with ``ca.crt``, ``namespace`` and ``token``."""

    def __init__(self, directory: str | os.PathLike[str], namespace: str, token: str, ca: bytes) -> None:
        self.path = Path(directory)
        self.volume = ServiceAccountVolume(directory, namespace=namespace)
        self.volume.write(files={"ca.crt": ca, "namespace": namespace, "token": token})

    @property
    def token(self) -> str:
        """The token that is there now."""
        return (self.path / "token").read_text("utf-8")

    def rotate(self, token: str | None = None, ca: bytes | None = None) -> bool:
        """Swap in another token, another CA, or both at once; whether anything changed."""
        given = {"token": token, "ca.crt": ca}
        return self.volume.update(
            files={name: content for name, content in given.items() if content is not None}
        )
