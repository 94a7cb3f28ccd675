"""What an answer holds: an object of JSON, or a List, perhaps in several pages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kmetad.api.errors import BadAnswer, Gone

Object = dict[str, Any]
"""An object of the API, as its JSON has it."""

LONGEST = 16 << 20
"""Bytes of an answer, at most; parsed it may take ten times as many, and the daemon has 128 MiB."""


def parse(body: bytes, request: str) -> Object:
    """An object of JSON. Raises BadAnswer for anything else."""
    from msgspec import DecodeError
    from msgspec.json import decode

    try:
        read = decode(body)
    except (DecodeError, RecursionError, UnicodeDecodeError):
        read = None
    except MemoryError:
        raise BadAnswer(f"{request}: there is no memory for the answer; ask for less of it") from None
    if isinstance(read, dict):
        return read
    shown = "".join(c if c.isprintable() else " " for c in body[:60].decode("utf-8", "replace"))
    raise BadAnswer(f"{request}: expected an object of JSON, got {shown!r}; is this an API server?")


def whole_list(
    get: Callable[[str, Mapping[str, object]], Object], path: str, query: Mapping[str, object], limit: int
) -> Object:
    """A List of all pages, ``limit`` objects each, with the resourceVersion that they are of.

    Where the server forgets in the middle of it what the first page was of (410), it is asked for everything at once.
    Raises what ``get`` does, and BadAnswer for what is no List.
    """
    whole = page = get(path, {**query, "limit": limit})
    items = _items(whole, path)
    seen: set[object] = set()
    while token := page["metadata"].get("continue"):
        if token in seen:
            raise BadAnswer(f"GET {path}: a List that goes round in circles")
        seen.add(token)
        try:
            page = get(path, {**query, "limit": limit, "continue": token})
        except Gone:
            whole = page = get(path, query)
            items = _items(whole, path)
            break
        items += _items(page, path)
    whole["metadata"] = {
        key: value for key, value in page["metadata"].items() if key not in ("continue", "remainingItemCount")
    }
    whole["items"] = items
    return whole


def _items(page: Object, path: str) -> list[Any]:
    metadata, items = page.get("metadata"), page.get("items", "")
    if not isinstance(metadata, dict) or not isinstance(items, list | None):
        raise BadAnswer(f"GET {path}: expected a List, got {str(page.get('kind'))[:60]}")
    return items or []
