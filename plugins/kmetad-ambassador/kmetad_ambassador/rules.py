"""What is allowed: rules, and nothing beside them.

They match as RBAC's do (k8s.io/kubernetes, pkg/apis/rbac/v1/evaluation_helpers.go), except that no wildcard
covers what is sensitive, and that ``get`` of a path is for HEAD as well.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import NamedTuple

from kmetad_ambassador.asked import Asked
from kmetad_ambassador.refusal import Refusal
from kmetad_ambassador.rule import OF_PATHS, READING, WRITING
from kmetad_ambassador.rule import Rule as Rule
from kmetad_ambassador.rule import parse_rule as parse_rule

THROUGH = frozenset({"exec", "attach", "portforward", "proxy"})
"""Subresources, of any resource, that lead through the API server to something else. A rule has to name them:
``pods/exec``, or ``*/exec``. As a verb, which older servers have in the path, ``proxy`` has to be named likewise."""
ALONE = frozenset({"secrets", "serviceaccounts/token"})
"""Credentials (core group). A rule has to name the very resource."""

READ = (
    Rule(READING, api_groups=("*",), resources=("*",)),
    Rule(("get",), paths=("*",)),
)
"""Reading everything but what is sensitive."""
WRITE = (Rule(WRITING, api_groups=("*",), resources=("*",)),)
"""Writing likewise; what is no resource isn't written to."""

_DISCOVERY = re.compile(
    r"/|/api(?:/[^/]+)?/?|/apis(?:/[^/]+){0,2}/?|/version/?|/openapi(?:/.*)?|/healthz|/livez|/readyz"
)
"""What every client looks at first, and Kubernetes itself shows to whoever has signed in (system:discovery)."""

_ANOTHER = re.compile(r"/apis?/[^/]+/[^/]")
"""Further in, the path of another API, as servers have it that stand before many clusters (kcp, Rancher). Nothing
here is known of that one's resources, so that everything in it is sensitive."""


class _Grant(NamedTuple):
    """Where one may ask for a resource, and of which name; None: any."""

    group: str
    namespaces: frozenset[str] | None
    names: frozenset[str] | None


class Policy:
    """Rules, of which one has to match. Discovery may be read whatever they are."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self.rules = tuple(rules)
        self._grants: dict[str, dict[str, list[_Grant]]] = {}
        """By verb, then by resource as rules write it."""
        self._paths: dict[str, set[str]] = {}
        """By verb, whole ones."""
        self._under: dict[str, tuple[str, ...]] = {}
        """By verb, what they may begin with."""
        for rule in self.rules:
            if rule.paths:
                self._add_paths(rule)
            else:
                self._add_resources(rule)

    def check(self, asked: Asked) -> None:
        """Raises Refusal (403, "rule") for what isn't allowed; it says what would allow it."""
        if not self._allows(asked):
            raise Refusal(403, "rule", self._why_not(asked))

    def _add_resources(self, rule: Rule) -> None:
        namespaces, names = frozenset(rule.namespaces) or None, frozenset(rule.resource_names) or None
        verbs = {*rule.verbs} - {"*"} | ({*READING, *WRITING} if "*" in rule.verbs else set())
        for verb in verbs:
            by_resource = self._grants.setdefault(verb, {})
            for resource, group in rule.matched():
                by_resource.setdefault(resource, []).append(_Grant(group, namespaces, names))

    def _add_paths(self, rule: Rule) -> None:
        verbs = {*OF_PATHS} if "*" in rule.verbs else {*rule.verbs}
        for verb in verbs | ({"head"} if "get" in verbs else set()):
            whole = {path for path in rule.paths if not path.endswith("*")}
            self._paths.setdefault(verb, set()).update(whole)
            begun = (path[:-1] for path in rule.paths if path.endswith("*"))
            self._under[verb] = (*self._under.get(verb, ()), *begun)

    def _allows(self, asked: Asked) -> bool:
        if not asked.resource:
            return self._allows_path(asked.verb, asked.path)
        by_resource = self._grants.get(asked.verb)
        if by_resource is None:
            return False
        of_group, in_namespace, of_name = asked.api_group, asked.namespace, asked.name
        for written in _written(asked):
            for group, namespaces, names in by_resource.get(written, ()):
                if (
                    (group == "*" or group == of_group)
                    and (namespaces is None or in_namespace in namespaces)
                    and (names is None or of_name in names)
                ):
                    return True
        return False

    def _allows_path(self, verb: str, path: str) -> bool:
        if verb in ("get", "head") and _DISCOVERY.fullmatch(path):
            return True
        if path in self._paths.get(verb, ()):
            return True
        begun = self._under.get(verb, ())
        if _ANOTHER.search(path, 1):
            begun = tuple(start for start in begun if len(start) > 1)
        return path.startswith(begun)

    def _why_not(self, asked: Asked) -> str:
        """What was asked, what is missing, and the rule that would do."""
        rule = _rule_for(asked)
        if rule is None:
            return f"{_told(asked)} isn't allowed, and no rule can be written for such a name"
        text = f"{_told(asked)} isn't allowed{self._but(asked)}; --allow {shlex.quote(rule)} would allow it"
        reads, writes = ({*some} <= {*self.rules} for some in (READ, WRITE))
        if asked.verb in WRITING and asked.resource and not _sensitive(asked) and not writes:
            text += ", or --allow-write with all other writing"
        if reads and not writes:
            text += "; --allow replaces what is allowed by default, so add --allow 'get,list,watch:*' to keep that"
        return text

    def _but(self, asked: Asked) -> str:
        """Where or of what it is allowed instead; or that no wildcard counts."""
        grants = [
            grant
            for written in (_written(asked) if asked.resource else ())
            for grant in self._grants.get(asked.verb, {}).get(written, ())
            if grant.group in ("*", asked.api_group)
        ]
        namespaces = {
            namespace
            for grant in grants
            if grant.names is None or asked.name in grant.names
            for namespace in grant.namespaces or ()
        }
        names = {
            name
            for grant in grants
            if grant.namespaces is None or asked.namespace in grant.namespaces
            for name in grant.names or ()
        }
        if namespaces:
            where = f": the rules allow it in namespace {_some(namespaces)} alone"
            return (
                where if asked.namespace else f"{where}, so ask for it there (kubectl -n {min(namespaces)})"
            )
        if names:
            of_what = f": the rules allow it of {_some(names)} alone"
            if asked.verb in ("list", "watch"):
                return f"{of_what}, so ask for that (kubectl --field-selector metadata.name={min(names)})"
            return of_what if asked.name else f"{of_what}, and this request has no name to look at"
        if _sensitive(asked):
            return ", since no wildcard covers it"
        return ""


def policy(allow: Sequence[Rule], allow_write: bool) -> Policy:
    """What options say: ``allow`` instead of READ; with ``allow_write``, beside READ and WRITE."""
    if allow_write:
        return Policy((*READ, *WRITE, *allow))
    return Policy(tuple(allow) or READ)


def _written(asked: Asked) -> tuple[str, ...]:
    """How rules may write a resource so that they cover it."""
    resource, subresource = asked.resource, asked.subresource
    whole = f"{resource}/{subresource}" if subresource else resource
    if not asked.api_group and (resource in ALONE or whole in ALONE):
        return (whole,)
    if not subresource:
        return (whole, "*")
    if subresource in THROUGH:
        return (whole, f"*/{subresource}")
    return (whole, f"*/{subresource}", "*")


def _sensitive(asked: Asked) -> bool:
    """Whether no wildcard covers it."""
    if not asked.resource:
        return _ANOTHER.search(asked.path, 1) is not None
    return asked.verb == "proxy" or "*" not in _written(asked)


def _told(asked: Asked) -> str:
    """``create pods/exec in namespace lab (web)``"""
    if not asked.resource:
        return f"{asked.verb} {_short(asked.path)}"
    text = f"{asked.verb} {_short(_resource(asked))}"
    text += f" in namespace {_short(asked.namespace)}" if asked.namespace else " at the cluster scope"
    return f"{text} ({_short(asked.name)})" if asked.name else text


def _resource(asked: Asked) -> str:
    """As kubectl writes it."""
    group = f".{asked.api_group}" if asked.api_group else ""
    subresource = f"/{asked.subresource}" if asked.subresource else ""
    return f"{asked.resource}{group}{subresource}"


def _rule_for(asked: Asked) -> str | None:
    """The short form of a rule that allows this and little more; None if there is none."""
    if not asked.resource:
        text = f"{'get' if asked.verb == 'head' else asked.verb}:{asked.path}"
    else:
        text = f"{asked.verb}:{_resource(asked)}"
        name = asked.name if not asked.api_group and len(_written(asked)) == 1 else ""
        if asked.namespace or name:
            text += f":{asked.namespace or '*'}"
        if name:
            text += f":{name}"
    if "*" in text.replace(":*:", ""):  # the path holds one, which a rule would take for a wildcard
        return None
    try:
        return text if Policy((parse_rule(text),))._allows(asked) else None
    except ValueError:
        return None


def _some(texts: set[str]) -> str:
    first = sorted(texts)[:5]
    return ", ".join(first) + (" and others" if len(texts) > len(first) else "")


def _short(text: str) -> str:
    return text if len(text) <= 253 else f"{text[:250]}..."
