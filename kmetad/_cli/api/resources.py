"""List the resources that the API server has: their names, kinds, and what may be done with them.

Of a resource in several versions the one that the server prefers is shown. A group
that can't be had now is told of, and makes the exit code 1; the others are shown.

examples:
  kmetad api resources
  kmetad api resources --api-group apps
  kmetad api resources --subresources | grep ^pods/
  kmetad api resources --all-versions -o json
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from kmetad._cli.api import asking, printing

if TYPE_CHECKING:
    from kmetad.api.discovery import ApiResource

HEADER = ("NAME", "SHORTNAMES", "APIVERSION", "NAMESPACED", "KIND", "VERBS")


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument("--api-group", metavar="GROUP", help='of one group; "" is the core\'s')
    parser.add_argument("--subresources", action="store_true", help="with their parts, as pods/log")
    parser.add_argument("--all-versions", action="store_true", help="not only the preferred one of each")
    printing.arguments(parser)


def run(args: argparse.Namespace) -> int:
    """The exit code: 0, 1 where a group is missing. Raises ApiError."""
    from kmetad._cli.text import escape
    from kmetad.api import discovery

    with asking.client(args) as client:
        found = discovery.discover(client)
    chosen = [
        resource
        for resource in found.resources
        if (args.subresources or not resource.is_subresource)
        and (args.all_versions or resource.preferred)
        and (args.api_group is None or args.api_group == resource.group)
    ]
    chosen.sort(
        key=lambda resource: (resource.group, not resource.preferred, resource.version, resource.name)
    )
    if args.output == "table":
        printing.table(map(_row, chosen), HEADER)
    else:
        printing.document([_object(resource) for resource in chosen], args.output)
    sys.stdout.flush()  # what follows belongs behind it, also in a log that has both
    for fault in found.faults:
        print(f"kmetad: {escape(fault)}", file=sys.stderr)
    if not chosen and not found.faults:
        print("kmetad: there are none such; `kmetad api resources` lists all", file=sys.stderr)
    return 1 if found.faults else 0


def _row(resource: ApiResource) -> tuple[str, ...]:
    return (
        resource.name,
        ",".join(resource.short_names),
        resource.group_version,
        "true" if resource.namespaced else "false",
        resource.kind,
        ",".join(resource.verbs),
    )


def _object(resource: ApiResource) -> dict[str, Any]:
    """In Kubernetes' own words (meta/v1 APIResource)."""
    return {
        "name": resource.name,
        "shortNames": list(resource.short_names),
        "groupVersion": resource.group_version,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(resource.verbs),
        "categories": list(resource.categories),
        "preferred": resource.preferred,
    }
