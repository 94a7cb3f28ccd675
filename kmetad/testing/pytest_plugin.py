"""Fixtures for whoever tests a plugin; pytest finds them where kmetad is installed.

Nothing of kmetad is imported before a test asks for one of them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from kmetad.testing.host import Host
    from kmetad.testing.kubelet import Volume


@pytest.fixture
def kmetad_volume(tmp_path: Path) -> Volume:
    """A simulated kubelet's volume: real files, swapped as Kubernetes swaps them."""
    from kmetad.testing.kubelet import Volume

    return Volume(tmp_path / "podinfo")


@pytest.fixture
def kmetad_host() -> type[Host]:
    """Makes a host for one plugin: ``kmetad_host(Plugin, greeting="hi")``."""
    from kmetad.testing.host import Host

    return Host
