"""One rule, as a Role has it, and its short form for a command line."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

import msgspec

from kmetad_ambassador.target import is_part

READING = ("get", "list", "watch")
WRITING = ("create", "update", "patch", "delete", "deletecollection")
_OF_RESOURCES = (*READING, *WRITING, "proxy")
OF_PATHS = ("get", "head", "post", "put", "patch", "delete")

_MEANT = {
    "read": "get,list,watch",
    "view": "get,list,watch",
    "write": "create,update,patch,delete",
    "edit": "create,update,patch,delete",
    "all": "*",
    "any": "*",
    "post": "create",
    "add": "create",
    "put": "update",
    "replace": "update",
    "apply": "patch",
    "remove": "delete",
    "head": "get",
}
_MEANT_OF_PATHS = {
    "read": "get",
    "list": "get",
    "watch": "get",
    "all": "*",
    "any": "*",
    "write": "post,put,patch,delete",
    "create": "post",
    "update": "put",
}
_INSIDE = frozenset({"approve", "attest", "bind", "escalate", "impersonate", "sign", "use"})
"""Verbs of roles that the API server asks itself about; no request has them."""

_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_RESOURCE = re.compile(
    rf"(?P<name>\*|{_LABEL})(?:\.(?P<group>\*|{_LABEL}(?:\.{_LABEL})*))?(?:/(?P<subresource>{_LABEL}))?"
)
"""As kubectl writes them. No resource's own name holds a dot (CustomResourceDefinition, spec.names.plural)."""
_GROUP = re.compile(rf"(?:\*|{_LABEL}(?:\.{_LABEL})*)?")
_NAMESPACE = re.compile(_LABEL)

_FORM = "VERBS:RESOURCES[:NAMESPACES[:NAMES]], as get,list:pods,deployments.apps:lab, or VERBS:PATHS, as get:/metrics"


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may be done with which resources, or with which paths.

    Raises ValueError for what could match nothing, and says what could.
    """

    verbs: tuple[str, ...]
    """Kubernetes' for resources, HTTP's in lower case for paths. ``*``: all, but for ``proxy``, which older servers
    have in the path."""
    api_groups: tuple[str, ...] = ("",)
    """Of those resources that don't name theirs. Empty text: the core group; ``*``: every group."""
    resources: tuple[str, ...] = ()
    """``pods``, ``pods/log``, ``*``, ``*/scale``; with their group ``deployments.apps/scale``, ``*.apps``."""
    resource_names: tuple[str, ...] = ()
    """None: any name."""
    namespaces: tuple[str, ...] = ()
    """None: in any, across all of them, and what is in none."""
    paths: tuple[str, ...] = ()
    """Of what is no resource: ``/metrics``, or ``/logs/*`` for all that begin so."""

    def __post_init__(self) -> None:
        if bool(self.resources) == bool(self.paths):
            raise ValueError(
                "a rule has resources, as pods, or paths, as /metrics: one of them, and not both in one"
            )
        if self.paths:
            if self.namespaces or self.resource_names or self.api_groups != ("",):
                raise ValueError(
                    "api_groups, namespaces and resource_names are for resources; this rule has paths"
                )
            _check_verbs(self.verbs, OF_PATHS, _MEANT_OF_PATHS, "paths")
            _check_each(self.paths, _check_path)
            return
        _check_verbs(self.verbs, _OF_RESOURCES, _MEANT, "resources")
        if not self.api_groups:
            raise ValueError('api_groups is empty; "" is the core group, and "*" every group')
        _check_each(self.api_groups, _check_group)
        _check_each(self.resources, _check_resource)
        _check_each(self.namespaces, _check_namespace)
        _check_each(self.resource_names, _check_name)

    def matched(self) -> Iterator[tuple[str, str]]:
        """Each resource, with its subresource as a role writes it, and a group."""
        for written in self.resources:
            found = _RESOURCE.fullmatch(written)
            assert found is not None  # __post_init__ has looked
            name, group, subresource = found.groups()
            whole = name if subresource is None else f"{name}/{subresource}"
            for of_it in self.api_groups if group is None else (group,):
                yield whole, of_it


def parse_rule(text: str) -> Rule:
    """A rule's short form: ``get,list:pods,pods/log,deployments.apps:lab:web``, or ``get:/metrics,/logs/*``.

    A resource without a group is of the core group, but ``*`` is of every group. ``*`` as NAMESPACES or NAMES
    is any. Raises ValueError that says what is wrong.
    """
    verbs, _, rest = text.partition(":")
    if not rest.strip():
        raise ValueError(f"{text!r} is no rule: {_FORM}")
    try:
        if rest.lstrip().startswith("/"):
            return Rule(_listed(verbs), paths=_listed(rest))
        resources, *where = rest.split(":", 2)  # a name may hold colons, as of services behind a proxy
        namespaces, names = (*map(_any_or_listed, where), (), ())[:2]
        return Rule(
            _listed(verbs),
            resources=tuple(map(_in_every_group, _listed(resources))),
            namespaces=namespaces,
            resource_names=names,
        )
    except ValueError as error:
        raise ValueError(f"{text!r}: {error}") from None


def _listed(text: str) -> tuple[str, ...]:
    return tuple(entry.strip() for entry in text.split(","))


def _any_or_listed(text: str) -> tuple[str, ...]:
    if not text.strip():  # a shell's variable that isn't set must not widen a rule
        raise ValueError(
            "nothing stands behind a colon; write * for any namespace or name, or leave out the colon"
        )
    return () if text.strip() == "*" else _listed(text)


def _in_every_group(resource: str) -> str:
    return f"*.*{resource[1:]}" if resource == "*" or resource.startswith("*/") else resource


def _check_each(texts: Iterable[str], check: Callable[[str], None]) -> None:
    for text in texts:
        check(text)


def _check_verbs(verbs: tuple[str, ...], known: tuple[str, ...], meant: dict[str, str], of_what: str) -> None:
    if not verbs or verbs == ("",):
        raise ValueError(f"no verb; {of_what} have {', '.join(known)}, and * for all")
    for verb in verbs:
        if verb in known or verb == "*":
            continue
        if verb in _INSIDE:
            raise ValueError(
                f"the API server asks itself whether one may {verb}, but no request does; leave it out"
            )
        near = _nearest(verb.lower(), known, meant)
        hint = f"did you mean {near}?" if near else f"there are {', '.join(known)}, and * for all"
        raise ValueError(f"{verb!r} is no verb of {of_what}; {hint}")


def _nearest(verb: str, known: tuple[str, ...], meant: dict[str, str]) -> str:
    """What was meant; empty if nothing is near."""
    from difflib import get_close_matches  # for the way out alone

    if verb in known:
        return verb
    return meant.get(verb) or next(iter(get_close_matches(verb, known, 1)), "")


def _check_group(group: str) -> None:
    if _GROUP.fullmatch(group) is None:
        raise ValueError(
            f'api_groups: {group!r} is no API group; they look like apps or metrics.k8s.io, without a version, "" is '
            "the core group"
        )


def _check_resource(resource: str) -> None:
    if _RESOURCE.fullmatch(resource) is not None:
        return
    if resource.startswith("/"):
        raise ValueError(f"{resource!r} is a path, which has to stand in a rule of its own, as get:/metrics")
    if resource.endswith("/*"):
        raise ValueError(
            f"{resource!r}: subresources have no wildcard (nor in a Role); name them, as pods/log"
        )
    if _RESOURCE.fullmatch(resource.lower()) is not None:
        raise ValueError(f"{resource!r} is no resource's name; did you mean {resource.lower()}?")
    raise ValueError(
        f"{resource!r} is no resource as kubectl writes it: pods, pods/log, deployments.apps, deployments.apps/scale, "
        "* or */scale"
    )


def _check_namespace(namespace: str) -> None:
    if namespace == "*":
        raise ValueError("namespaces have no wildcard; leave them out for all of them")
    if _NAMESPACE.fullmatch(namespace) is None:
        raise ValueError(f"{namespace!r} can't be the name of a namespace; they look like kube-system")


def _check_name(name: str) -> None:
    if name == "*":
        raise ValueError("names have no wildcard; leave them out for all of them")
    if not is_part(name):
        raise ValueError(f"{name!r} can't be the name of an object, since no path can hold it")


def _check_path(path: str) -> None:
    start = path.removesuffix("*")
    parts = start.removeprefix("/").removesuffix("/").split("/")
    if path != "*" and (
        not start.startswith("/") or "*" in start or not (start == "/" or all(map(is_part, parts)))
    ):
        raise ValueError(
            f"{path!r} is no path as a rule has it: it begins with a slash, as /metrics, has * at its end alone, and "
            "neither empty parts nor . or .., % or ?"
        )
    if len(parts) > {"api": 2, "apis": 3}.get(parts[0], len(parts)):
        raise ValueError(
            f"{path!r} is the path of a resource; write the resource, as get:pods:NAMESPACE:NAME"
        )
