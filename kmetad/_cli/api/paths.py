"""List the paths that the API server serves, as it tells at its root.

Behind them are groups of resources (/apis/apps/v1) and what the server tells of
itself (/healthz, /metrics, /openapi/v3): `kmetad api get PATH` prints one. Most accounts
may not ask for that list; then it is what discovery tells them, the groups alone.

examples:
  kmetad api paths
  kmetad api paths -o json
  kmetad api paths | grep ^/apis/apps
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from kmetad._cli.api import asking, printing

if TYPE_CHECKING:
    from kmetad.api import Client


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    printing.arguments(parser)


def run(args: argparse.Namespace) -> int:
    """The exit code: 0. Raises ApiError."""
    from kmetad._cli.text import escape
    from kmetad.api import BadAnswer, Forbidden

    with asking.client(args) as client:
        try:
            answer = client.get("/")
        except Forbidden as error:
            answer = {"paths": _discovered(client)}
            print(f"kmetad: only what discovery tells, for {escape(str(error))}", file=sys.stderr)
    paths = answer.get("paths")
    if not isinstance(paths, list):
        raise BadAnswer(
            "GET /: expected a list of paths; is this an API server? See `kmetad api cluster-info`"
        )
    if args.output == "table":
        printing.table([str(path)] for path in paths)
    else:
        printing.document(answer, args.output)
    return 0


def _discovered(client: Client) -> list[str]:
    """The paths of all groups: what every account may know, and the root's list isn't (system:discovery)."""
    from kmetad.api import discovery

    paths = []
    for root in ("/api", "/apis"):
        paths.append(root)
        for group_version in discovery.group_versions(client.get(root)):
            group = group_version.rpartition("/")[0]
            if group and f"{root}/{group}" not in paths:
                paths.append(f"{root}/{group}")
            paths.append(f"{root}/{group_version}")
    return paths
