"""What a Kubernetes 1.36 answered, byte by byte, in ``tests/data/api``."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DATA = Path(__file__).resolve().parent.parent / "data" / "api"


@dataclass(frozen=True)
class Recorded:
    """One answer, and what it answered to."""

    name: str
    request: dict[str, Any]
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of a watch."""
        return [json.loads(line) for line in self.body.splitlines()]

    def header(self, name: str) -> str | None:
        """A header of the answer."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@functools.cache
def recorded(name: str) -> Recorded:
    """The answer of this name."""
    meta = json.loads((DATA / f"{name}.meta.json").read_text("utf-8"))
    request = meta.get("request") or {"method": "GET", "path": meta["path"], "headers": {}, "body": None}
    headers = tuple((key, value) for key, value in meta["headers"])
    return Recorded(name, request, meta["status"], headers, (DATA / f"{name}.body").read_bytes())
