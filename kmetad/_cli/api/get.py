"""Print what a path of the API server holds, as `kubectl get --raw` does, but readable.

JSON is indented; it is the form for scripts, and the default everywhere. -o table
asks for the server's own table, as `kubectl get` does, where it has one. What is no
JSON, as a Pod's log, is printed as it is.

examples:
  kmetad api get /version
  kmetad api get /api/v1/namespaces/default/pods -o table
  kmetad api get '/api/v1/pods?labelSelector=app%3Dweb&limit=5' -o yaml
  kmetad api get '/api/v1/namespaces/default/pods/web/log?tailLines=10'
  kmetad api get '/readyz?verbose'
"""

from __future__ import annotations

import argparse
import re
import sys
from typing import Any
from urllib.parse import parse_qs

from kmetad._cli.api import asking, printing

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
"""Kubernetes' reference, "API concepts", receiving resources as tables."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument(
        "path", metavar="PATH", help="with its query, if it has one; `kmetad api paths` lists them"
    )
    printing.arguments(parser, default="json")


def run(args: argparse.Namespace) -> int:
    """The exit code: 0, 2 usage. Raises ApiError."""
    if wrong := _wrong(args.path):
        print(f"kmetad: {wrong}", file=sys.stderr)
        return 2
    accept = TABLE if args.output == "table" else "application/json, */*"
    with asking.client(args) as client:
        try:
            answer = client.raw("GET", args.path, headers={"Accept": accept})
        except ValueError as error:  # no path at all
            print(f"kmetad: {error}", file=sys.stderr)
            return 2
    kind = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    value = _json(answer.body) if kind in ("application/json", "") or kind.endswith("+json") else None
    if value is None:
        printing.plain(answer.body)
    elif args.output == "table" and isinstance(value, dict) and value.get("kind") == "Table":
        _print_table(value, re.match(r"/apis?/.*/namespaces/[^/?]+/", args.path) is not None)
    else:
        printing.document(value, args.output)
    return 0


def _wrong(path: str) -> str:
    """What is no path, or would never end."""
    if not path.startswith("/"):
        name = path.partition("://")[2].partition("/")[2] if "://" in path else path
        return f"{path!r} is no path; did you mean {f'/{name}'!r}? `kmetad api paths` lists what there is"
    query = parse_qs(path.partition("?")[2], keep_blank_values=True)
    for endless in ("watch", "follow"):
        if query.get(endless, ["false"])[-1].lower() not in ("false", "0"):
            return f"{endless}= never ends, and this prints whole answers; leave it out, or use kubectl"
    return ""


def _json(body: bytes) -> Any:
    from json import loads

    try:
        return loads(body)
    except (ValueError, RecursionError):
        return None


def _print_table(value: dict[str, Any], in_namespace: bool) -> None:
    """The columns of priority 0 (meta/v1 TableColumnDefinition), and the namespace where rows are of several."""
    definitions = [column for column in _list(value, "columnDefinitions") if isinstance(column, dict)]
    shown = [at for at, column in enumerate(definitions) if not column.get("priority")]
    rows = [row for row in _list(value, "rows") if isinstance(row, dict)]
    if not rows:
        print("kmetad: there are none", file=sys.stderr)
        return
    namespaces = [_namespace(row) for row in rows]
    several = not in_namespace and any(namespaces)
    header = [
        *(["NAMESPACE"] if several else []),
        *(str(definitions[at].get("name")).upper() for at in shown),
    ]
    lines = [
        [*([namespace] if several else []), *(_cell(row, at) for at in shown)]
        for row, namespace in zip(rows, namespaces, strict=True)
    ]
    printing.table(lines, header)


def _namespace(row: dict[str, Any]) -> str:
    found = row.get("object")
    metadata = found.get("metadata") if isinstance(found, dict) else None
    return str(metadata.get("namespace") or "") if isinstance(metadata, dict) else ""


def _cell(row: dict[str, Any], at: int) -> str:
    cells = _list(row, "cells")
    cell = cells[at] if at < len(cells) else None
    if isinstance(cell, bool):
        return "true" if cell else "false"
    return "" if cell is None else str(cell)


def _list(holder: dict[str, Any], key: str) -> list[Any]:
    value = holder.get(key)
    return value if isinstance(value, list) else []
