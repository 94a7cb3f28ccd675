"""Ask the API server whether you may do something; print yes or no.

RESOURCE is a name, a short name or a kind, with its group where several have it
(deployments.apps) and its part (pods/log, where kubectl wants --subresource=log),
or a path (/metrics). Without -n it is your own namespace, else `default`. The exit
code is 0 for yes, 1 for no or an error of the API, 2 for wrong usage. Standard error
tells why, or which rule a role would need.

examples:
  kmetad api can-i get pods
  kmetad api can-i get pods/log web -n shop
  kmetad api can-i list deployments.apps --all-namespaces
  kmetad api can-i get /metrics
  kmetad api can-i --list
"""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from kmetad._cli.api import asking, printing

if TYPE_CHECKING:
    from kmetad.api import Client

AUTHORIZATION = "authorization.k8s.io/v1"
DEFAULT = "default"
"""The namespace where nothing says another, as kubectl has it."""
HEADER = ("RESOURCES", "NON-RESOURCE URLS", "RESOURCE NAMES", "VERBS")


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    parser.add_argument(
        "verb", metavar="VERB", nargs="?", help="get, list, watch, create, patch, delete, …, or *"
    )
    parser.add_argument("resource", metavar="RESOURCE", nargs="?", help="what to do it with, or a path")
    parser.add_argument("name", metavar="NAME", nargs="?", help="of one object; without it, of any")
    parser.add_argument("--list", action="store_true", help="list all that you may do in the namespace")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("-n", "--namespace", metavar="NAME", help="where; your own without it")
    where.add_argument("-A", "--all-namespaces", action="store_true", help="in all of them")
    printing.arguments(parser)


def run(args: argparse.Namespace) -> int:
    """The exit code: 0 yes, 1 no, 2 usage. Raises ApiError."""
    if wrong := _wrong(args):
        print(f"kmetad: {wrong} (see kmetad api can-i --help)", file=sys.stderr)
        return 2
    with asking.client(args) as client:
        namespace = args.namespace or client.namespace or DEFAULT
        if args.list:
            return _list(client, namespace, args.output)
        attributes = _attributes(client, args, namespace)
        part = "nonResourceAttributes" if args.resource.startswith("/") else "resourceAttributes"
        review = _review(client, "SelfSubjectAccessReview", {part: attributes})
    return _tell(review, attributes, args.output)


def _wrong(args: argparse.Namespace) -> str:
    if args.list:
        if args.verb is not None:
            return "--list is for everything; leave out the verb"
        return "--list is for one namespace; name it with -n" if args.all_namespaces else ""
    if args.verb is None or args.resource is None:
        return "say VERB and RESOURCE, or --list"
    if args.resource.startswith("/"):
        if args.name is not None:
            return f"{args.resource} is a path, which has no objects; leave out {args.name!r}"
        return "a path is in no namespace; leave that out" if args.namespace or args.all_namespaces else ""
    return ""


def _attributes(client: Client, args: argparse.Namespace, namespace: str) -> dict[str, str]:
    """What is asked about (authorization/v1), without what is empty."""
    if args.resource.startswith("/"):
        return {"verb": args.verb, "path": args.resource}
    named = args.resource if "*" in args.resource.partition(".")[0] else _known(client, args)
    if isinstance(named, str):  # taken as it is
        parent, _, subresource = named.partition("/")
        plural, _, group = parent.partition(".")
        namespaced = True
    else:
        plural, _, subresource = named.name.partition("/")
        group, namespaced = named.group, named.namespaced
    if not namespaced and args.namespace:
        print(
            f"kmetad: {plural} are in no namespace, so {args.namespace} means nothing here", file=sys.stderr
        )
    attributes = {
        "namespace": namespace if namespaced and not args.all_namespaces else "",
        "verb": args.verb,
        "group": group,
        "resource": plural,
        "subresource": subresource,
        "name": args.name or "",
    }
    return {key: value for key, value in attributes.items() if value}


def _known(client: Client, args: argparse.Namespace) -> Any:
    """The resource that is meant; where discovery doesn't know it the name as it was given."""
    from kmetad._cli.text import escape
    from kmetad.api import BadAnswer, StatusError, discovery

    try:
        found = discovery.discover(client)
    except (StatusError, BadAnswer) as error:
        print(f"kmetad: names are taken as they are, for {escape(str(error))}", file=sys.stderr)
        return args.resource
    resource = discovery.find(found.resources, args.resource)
    if resource is None:
        print(
            f"kmetad: the server has no resource {escape(args.resource)!r}; asked for the name as it is "
            "(`kmetad api resources` lists what it has)",
            file=sys.stderr,
        )
        return args.resource
    if resource.is_subresource and not resource.verbs:
        print(f"kmetad: the server has no {resource.name}; asked for it all the same", file=sys.stderr)
    return resource


def _review(client: Client, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    """Ask; reviews are made, not kept."""
    review = {"apiVersion": AUTHORIZATION, "kind": kind, "spec": spec}
    return client.create(f"/apis/{AUTHORIZATION}/{kind.lower()}s", review)


def _tell(review: dict[str, Any], attributes: dict[str, str], output: str) -> int:
    status = review.get("status")
    status = status if isinstance(status, dict) else {}
    allowed = status.get("allowed") is True
    if output == "table":
        print("yes" if allowed else "no")
    else:
        printing.document(_without_fields(review), output)
    sys.stdout.flush()  # what follows belongs behind it, also in a log that has both
    from kmetad._cli.text import escape

    for reason in (status.get("reason"), status.get("evaluationError")):
        if isinstance(reason, str) and reason:
            print(f"kmetad: {escape(reason)}", file=sys.stderr)
    if not allowed and not status.get("denied"):
        print(f"kmetad: {escape(_rule(attributes))}", file=sys.stderr)
    return 0 if allowed else 1


def _rule(attributes: dict[str, str]) -> str:
    from kmetad.api.status import rule_for, would_allow

    resource = "/".join(filter(None, (attributes.get("resource"), attributes.get("subresource"))))
    rule = rule_for(attributes["verb"], attributes.get("group", ""), attributes.get("path", resource))
    return would_allow(rule, attributes.get("namespace", ""), "you")


def _without_fields(review: dict[str, Any]) -> dict[str, Any]:
    """Who manages which field of a review that nobody keeps is noise."""
    metadata = review.get("metadata")
    if isinstance(metadata, dict):
        metadata = {key: value for key, value in metadata.items() if key != "managedFields"}
    return {**review, "metadata": metadata or {}}


def _list(client: Client, namespace: str, output: str) -> int:
    """All rules for a namespace, a line each."""
    review = _review(client, "SelfSubjectRulesReview", {"namespace": namespace})
    status = review.get("status")
    status = status if isinstance(status, dict) else {}
    if output != "table":
        printing.document(_without_fields(review), output)
    else:
        printing.table([*_resource_rows(status), *_path_rows(status)], HEADER)
    sys.stdout.flush()
    if status.get("incomplete") is True:
        from kmetad._cli.text import escape

        why = status.get("evaluationError") or "not all that decides here can list its rules"
        print(f"kmetad: there may be more, as the server says: {escape(str(why))}", file=sys.stderr)
    return 0


def _resource_rows(status: dict[str, Any]) -> list[tuple[str, ...]]:
    """A line for each resource of each group, as kubectl has it: what several rules allow stands together."""
    found: dict[tuple[str, str], list[str]] = {}
    for rule in _rules(status, "resourceRules"):
        for group in _texts(rule, "apiGroups") or [""]:
            for resource in _texts(rule, "resources"):
                name = f"{resource}.{group}" if group else resource
                verbs = found.setdefault((name, _shown(_texts(rule, "resourceNames"))), [])
                verbs += [verb for verb in _texts(rule, "verbs") if verb not in verbs]
    return sorted((name, "[]", names, _shown(verbs)) for (name, names), verbs in found.items())


def _path_rows(status: dict[str, Any]) -> list[tuple[str, ...]]:
    found = {
        (path, _shown(_texts(rule, "verbs")))
        for rule in _rules(status, "nonResourceRules")
        for path in _texts(rule, "nonResourceURLs")
    }
    return [("", f"[{path}]", "[]", verbs) for path, verbs in sorted(found)]


def _rules(status: dict[str, Any], key: str) -> list[dict[str, Any]]:
    rules = status.get(key)
    return [rule for rule in rules if isinstance(rule, dict)] if isinstance(rules, list) else []


def _texts(rule: dict[str, Any], key: str) -> list[str]:
    texts = rule.get(key)
    return [text for text in texts if isinstance(text, str)] if isinstance(texts, list) else []


def _shown(names: list[str]) -> str:
    return f"[{' '.join(names)}]"
