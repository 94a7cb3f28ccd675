"""The whole check of a request against a slow one that shares nothing with it.

The other one is written from what it is to be: RFC 3986's characters, RequestInfo (k8s.io/apiserver,
pkg/endpoints/request), the selector's grammar (k8s.io/apimachinery, pkg/fields), RBAC's matching with
Roles and ClusterRoles, and what this proxy adds to them. Loops and texts instead of expressions and tables.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote

from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from kmetad_ambassador.asked import asked
from kmetad_ambassador.refusal import Refusal
from kmetad_ambassador.rules import READ, WRITE, Policy, Rule
from kmetad_ambassador.target import canonical

LETTERS = "abcdefghijklmnopqrstuvwxyz"
UNRESERVED = LETTERS + LETTERS.upper() + "0123456789-._~"
SUB_DELIMS = "!$&'()*+,="  # but for the semicolon
HEXADECIMAL = "0123456789abcdefABCDEF"


# --- What is asked, slowly.


def slow_path(raw: str) -> str | None:
    """The path with what may be decoded decoded; None if it has no one meaning."""
    if not raw or raw[0] != "/":
        return None
    path = ""
    at = 0
    while at < len(raw):
        character = raw[at]
        at += 1
        if character == "%":
            digits = raw[at : at + 2]
            if len(digits) != 2 or any(digit not in HEXADECIMAL for digit in digits):
                return None
            character = chr(int(digits, 16))
            at += 2
            if character == "/":
                return None
        if character not in UNRESERVED + SUB_DELIMS + ":@/":
            return None
        path += character
    if path == "/":
        return path
    parts = path.split("/")[1:]
    if parts[-1] == "":
        parts.pop()
    for part in parts:
        if part in ("", ".", ".."):
            return None
    return path


def slow_query(raw: str) -> dict[str, list[str]] | None:
    """Its parameters; None if they could be read in two ways."""
    for at, character in enumerate(raw):
        if character == "%":
            if len(raw) < at + 3 or raw[at + 1] not in HEXADECIMAL or raw[at + 2] not in HEXADECIMAL:
                return None
            if raw[at + 1 : at + 3] == "00":
                return None
        elif character not in UNRESERVED + SUB_DELIMS + ":@/?":
            return None
    try:
        unquote(raw, errors="strict")
    except UnicodeDecodeError:
        return None
    if len(raw.split("&")) > 4096:
        return None
    return parse_qs(raw, keep_blank_values=True)


def slow_terms(selector: str) -> list[tuple[str, str, str]] | None:
    """Field, operator and value of each term; None for what is no selector. As ParseSelector, with its escapes."""
    terms, term, escaped = [], "", False
    for character in selector:
        if character == "," and not escaped:
            terms.append(term)
            term = ""
            continue
        escaped = character == "\\" and not escaped
        term += character
    terms.append(term)
    found = []
    for term in terms:
        if not term:
            continue
        for at in range(len(term)):
            operator = next((op for op in ("!=", "==", "=") if term[at:].startswith(op)), None)
            if operator is not None:
                break
        else:
            return None
        value, escaped = "", False
        for character in term[at + len(operator) :]:
            if escaped:
                if character not in "\\,=":
                    return None
                value += character
                escaped = False
            elif character == "\\":
                escaped = True
            elif character in ",=":
                return None
            else:
                value += character
        if escaped:
            return None
        found.append((term[:at], operator, value))
    return found


@dataclass
class Attributes:
    """RBAC's, of a request."""

    verb: str
    path: str
    is_resource: bool = False
    group: str = ""
    namespace: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""


class NotPassed(Exception):
    """``target`` or ``method``."""


def slow_attributes(method: str, raw: bytes) -> Attributes:
    """NewRequestInfo, line by line. Raises NotPassed."""
    try:
        text = raw.decode("ascii")
    except UnicodeDecodeError:
        raise NotPassed("target") from None
    before, _, after = text.partition("?")
    path, query = slow_path(before), slow_query(after)
    if path is None or query is None:
        raise NotPassed("target")
    if method not in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"):
        raise NotPassed("method")

    info = Attributes(method.lower(), path)
    current = [part for part in path.split("/") if part]
    if len(current) < 3 or current[0] not in ("api", "apis"):
        return info
    prefix = current.pop(0)
    if prefix != "api":
        if len(current) < 3:
            return info
        info.group = current.pop(0)
    info.is_resource = True
    current.pop(0)  # the version
    if current[0] in ("proxy", "watch"):
        if len(current) < 2:
            raise NotPassed("target")
        info.verb = current.pop(0)
        if info.verb == "watch" and method not in ("GET", "HEAD"):
            raise NotPassed("method")
    elif method == "POST":
        info.verb = "create"
    elif method in ("GET", "HEAD"):
        info.verb = "get"
    elif method == "PUT":
        info.verb = "update"
    if current[0] == "namespaces" and len(current) > 1:
        info.namespace = current[1]
        if len(current) > 2 and current[2] != "status" and current[2] != "finalize":
            current = current[2:]
    if len(current) >= 3 and info.verb != "proxy":
        info.subresource = current[2]
    if len(current) >= 2:
        info.name = current[1]
    info.resource = current[0]

    own = not info.subresource and info.verb != "proxy"
    if own and (len(query.get("watch", [])) > 1 or len(query.get("fieldSelector", [])) > 1):
        raise NotPassed("target")
    if not info.name and info.verb == "get":
        info.verb = "list"
        if "watch" in query:
            if any(ord(character) > 127 for character in query["watch"][0]):
                raise NotPassed("target")
            if query["watch"][0].lower() != "false" and query["watch"][0] != "0":
                info.verb = "watch"
        selector = query.get("fieldSelector", [""])[0]
        terms = slow_terms(selector)
        if terms is not None and "\\" not in selector:
            names = [value for key, operator, value in terms if key == "metadata.name" and operator != "!="]
            plain = all(character not in "/%" and 32 <= ord(character) < 127 for character in "".join(names))
            if len(names) == 1 and names[0] not in (".", "..") and plain:
                info.name = names[0]
    if not info.name and info.verb == "delete":
        info.verb = "deletecollection"
    return info


# --- What is allowed, slowly.


@dataclass
class PolicyRule:
    """rbac/v1."""

    verbs: list[str]
    api_groups: list[str] = field(default_factory=list)
    resources: list[str] = field(default_factory=list)
    resource_names: list[str] = field(default_factory=list)
    non_resource_urls: list[str] = field(default_factory=list)


@dataclass
class Role:
    """Of a namespace; of a cluster if that is empty."""

    namespace: str
    rule: PolicyRule


def roles(rule: Rule) -> Iterator[Role]:
    """The Roles that say what a rule does: each resource with its group, in each namespace."""
    if rule.paths:
        verbs = list(rule.verbs)
        if "get" in verbs:
            verbs.append("head")
        yield Role("", PolicyRule(verbs, non_resource_urls=list(rule.paths)))
        return
    for written in rule.resources:
        name, slash, subresource = written.partition("/")
        name, dot, group = name.partition(".")
        for namespace in rule.namespaces or ("",):
            groups = [group] if dot else list(rule.api_groups)
            yield Role(
                namespace,
                PolicyRule(list(rule.verbs), groups, [name + slash + subresource], list(rule.resource_names)),
            )


def slow_allows(given: list[Rule], it: Attributes) -> bool:
    """RBAC's decision, and this proxy's additions."""
    if not it.is_resource and it.verb in ("get", "head") and is_discovery(it.path):
        return True
    return any(role_allows(role, it) for rule in given for role in roles(rule))


def role_allows(role: Role, it: Attributes) -> bool:
    """RuleAllows of the RBAC authorizer, for a Role of this namespace or for all."""
    rule = role.rule
    if it.verb not in rule.verbs and not ("*" in rule.verbs and it.verb != "proxy"):
        return False
    if not it.is_resource:
        return any(url_matches(url, it.path) for url in rule.non_resource_urls)
    if role.namespace and role.namespace != it.namespace:
        return False
    if rule.resource_names and it.name not in rule.resource_names:
        return False
    if it.group not in rule.api_groups and "*" not in rule.api_groups:
        return False
    return any(resource_matches(resource, it) for resource in rule.resources)


def resource_matches(ruled: str, it: Attributes) -> bool:
    """ResourceMatches, unless it is sensitive and only covered by a wildcard."""
    combined = it.resource
    if it.subresource:
        combined += "/" + it.subresource
    if ruled == combined:
        return True
    if it.group == "" and (it.resource == "secrets" or combined == "serviceaccounts/token"):
        return False
    if ruled == "*/" + it.subresource and it.subresource:
        return True
    return ruled == "*" and it.subresource not in ("exec", "attach", "portforward", "proxy")


def url_matches(ruled: str, path: str) -> bool:
    """NonResourceURLMatches, unless the path may be another API's and all paths are allowed at once."""
    if ruled == path:
        return True
    if not ruled.endswith("*"):
        return False
    parts = [part for part in path.split("/") if part]
    another = any(parts[at] in ("api", "apis") and len(parts) > at + 2 for at in range(1, len(parts)))
    if another and ruled in ("*", "/*"):
        return False
    return path.startswith(ruled.rstrip("*"))


def is_discovery(path: str) -> bool:
    """What may always be read."""
    if path in ("/", "/version", "/version/", "/healthz", "/livez", "/readyz"):
        return True
    first = path.split("/")[1]
    return first in ("api", "apis", "openapi")  # what is deeper of the former is a resource


def sensitive(it: Attributes) -> bool:
    """What no wildcard may ever allow."""
    if not it.is_resource:
        return False
    return (
        it.verb == "proxy"
        or it.subresource in ("exec", "attach", "portforward", "proxy")
        or (it.group == "" and it.resource == "secrets")
        or (it.group == "" and it.resource == "serviceaccounts" and it.subresource == "token")
    )


def slowly(given: list[Rule], method: str, raw: bytes) -> str:
    """``allowed``, ``rule``, ``target`` or ``method``."""
    try:
        it = slow_attributes(method, raw)
    except NotPassed as why:
        return str(why)
    return "allowed" if slow_allows(given, it) else "rule"


def quickly(judge: Policy, method: str, raw: bytes) -> str:
    """The same of what is used."""
    try:
        judge.check(asked(method, canonical(raw)))
    except Refusal as refusal:
        return refusal.kind
    return "allowed"


# --- What is tried.


def some(*texts: str) -> st.SearchStrategy[str]:
    """One of them."""
    return st.sampled_from(texts)


def tuples(of: st.SearchStrategy[str], least: int = 0) -> st.SearchStrategy[tuple[str, ...]]:
    """A few of them."""
    return st.lists(of, min_size=least, max_size=3).map(tuple)


RESOURCES = some(
    "pods", "pods", "secrets", "nodes", "namespaces", "services", "deployments", "serviceaccounts", "watch", "proxy",
    "pods/log", "pods/exec", "pods/proxy", "nodes/proxy", "services/proxy", "serviceaccounts/token", "secrets/status",
    "namespaces/status", "deployments/scale", "*", "*/log", "*/exec", "*/proxy", "*/token", "*/status", "*/scale",
    "deployments.apps", "deployments.apps/scale", "*.apps", "*.*", "*.*/exec", "secrets.apps", "pods.*", "*.apps/exec",
)  # fmt: skip
VERBS = some("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "proxy", "*")
RULES = st.lists(
    st.one_of(
        st.builds(
            Rule,
            tuples(VERBS, 1),
            api_groups=tuples(some("", "", "apps", "*"), 1),
            resources=tuples(RESOURCES, 1),
            resource_names=st.one_of(st.just(()), tuples(some("web", "db", "lab"))),
            namespaces=st.one_of(st.just(()), tuples(some("lab", "dev"))),
        ),
        st.builds(
            Rule,
            tuples(some("get", "head", "post", "delete", "*"), 1),
            paths=tuples(
                some(
                    "/metrics",
                    "/logs/*",
                    "/logs*",
                    "*",
                    "/*",
                    "/x/*",
                    "/api/*",
                    "/metrics/",
                    "/x/api/v1/pods",
                ),
                1,
            ),
        ),
        st.sampled_from(READ + WRITE),
    ),
    max_size=4,
)
PARTS = st.lists(
    some(
        "pods", "secrets", "nodes", "namespaces", "services", "deployments", "serviceaccounts", "exec", "proxy",
        "token", "log", "status", "finalize", "scale", "watch", "lab", "dev", "web", "db", "api", "v1", "*", "a:b",
        "...",
    ),
    max_size=4,
)  # fmt: skip
PLACES = some(
    "/api/v1", "/api/v1", "/api/v1/namespaces/lab", "/api/v1/namespaces/lab/pods/web", "/api/v1/namespaces/dev/secrets",
    "/api/v1/namespaces/lab/serviceaccounts/web", "/apis/apps/v1", "/apis/apps/v1/namespaces/lab/deployments",
    "/api/v1/watch", "/api/v1/proxy", "/api/v1/watch/namespaces/lab", "/api/v1/proxy/namespaces/lab/pods", "/apis/apps",
    "/api", "/metrics", "/logs", "/x", "/x/api/v1", "/version", "/openapi/v3/apis", "/healthz", "/apis", "",
)  # fmt: skip
PAIRS = some(
    "watch", "watch=1", "watch=true", "watch=false", "watch=0", "watch=", "w%61tch=1", "watch=f%61lse", "Watch=1",
    "fieldSelector=metadata.name=web", "fieldSelector=metadata.name%3Dweb", "fieldSelector=metadata.name==db",
    "fieldSelector=metadata.name!=web", "fieldSelector=metadata.name%3Dweb,a=b", "fieldSelector=metadata.name%3Dweb,a",
    "fieldSelector=metadata.name%3Dweb%2Cmetadata.name%3Ddb", "fieldSelector=metadata.name%3Dweb%5C,x",
    "fieldSelector=", "field%53elector=metadata.name%3Dweb", "limit=1", "a%26watch=1", "", "a=b;watch=1", "%", "a=%00",
    "a=%FF", "a=+", "watch=fal%C5%BFe", "a=%C3%BC",
)  # fmt: skip
METHODS = some("GET", "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "get")


@st.composite
def targets(draw: st.DrawFn) -> bytes:
    """A path of the API with a query, sometimes in another spelling, sometimes with a trick in it."""
    path = "/".join([draw(PLACES), *draw(PARTS)]) or "/"
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2]))):
        at = draw(st.integers(0, len(path)))
        trick = draw(
            some("decode", "decode", "decode", "DECODE", "twice", "/", "//", "/./", "/../", "/%2e%2e/", ";x", "%3b",
                 "%2f", "\\", "%5C", "%00", "\0", "%", "#", " ", "ü", "?", "%zz", "whole", "cut")
        )  # fmt: skip
        character = path[at : at + 1]
        if trick in ("decode", "DECODE", "twice"):
            if character:
                code = f"%{'25' if trick == 'twice' else ''}{ord(character):02x}"
                path = path[:at] + (code.upper() if trick == "DECODE" else code) + path[at + 1 :]
        elif trick == "whole":
            path = f"http://localhost{path}"
        elif trick == "cut":
            path = path[:at]
        else:
            path = path[:at] + trick + path[at:]
    query = "&".join(draw(st.lists(PAIRS, max_size=3)))
    return (f"{path}?{query}" if query else path).encode("latin-1", "replace")


@given(RULES, METHODS, targets())
@settings(max_examples=1500, deadline=None)
@example([*READ, *WRITE], "GET", b"/x/../api/v1/secrets")
@example([*READ], "GET", b"/api/v1/%73ecrets")
@example([*READ], "POST", b"/api/v1/watch/pods")
@example([*READ], "GET", b"/openapi/v3/apis/apps/v1")
@example([Rule(("get",), paths=("/*",))], "GET", b"/x/api/v1/pods/web/exec")
def test_alike(given: list[Rule], method: str, raw: bytes) -> None:
    """Both decide the same, of whatever rules and whatever is sent."""
    expected = slowly(given, method, raw)
    event(expected)
    assert quickly(Policy(given), method, raw) == expected


WILD = [
    *READ,
    *WRITE,
    Rule(
        ("*",),
        api_groups=("*",),
        resources=("*", "*/log", "*/status", "*/scale", "*/token", "pods", "pods/log"),
    ),
    Rule(("*",), resources=("*", "nodes", "services", "serviceaccounts", "*.*")),
    Rule(("*",), paths=("*", "/*")),
]
"""All that a wildcard can say, and names of what isn't sensitive."""


@given(METHODS, targets())
@settings(max_examples=500, deadline=None)
def test_nothing_sensitive_by_wildcards(method: str, raw: bytes) -> None:
    """And whatever is sent, it isn't what has to be named."""
    if quickly(Policy(WILD), method, raw) != "allowed":
        event("refused")
        return
    it = slow_attributes(method, raw)
    event("resource" if it.is_resource else "path")
    assert not sensitive(it)


@given(targets())
@settings(max_examples=500, deadline=None)
def test_reading_reads(raw: bytes) -> None:
    """By default, no method passes but GET and HEAD."""
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT"):
        assert quickly(Policy(READ), method, raw) != "allowed"


@given(RULES, RULES, METHODS, targets())
@settings(max_examples=300, deadline=None)
def test_more_rules_allow_more(first: list[Rule], second: list[Rule], method: str, raw: bytes) -> None:
    """Rules only add: together they allow exactly what either allows."""
    both = quickly(Policy([*first, *second]), method, raw) == "allowed"
    assert both == any(quickly(Policy(rules), method, raw) == "allowed" for rules in (first, second))
