"""Where an object is, among the API server's paths."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote, urlencode


def path_of(
    resource: str, name: str = "", *, namespace: str = "", group_version: str = "v1", subresource: str = ""
) -> str:
    """The path of a resource, or of one object of it.

    >>> path_of("pods", "web", namespace="lab", subresource="status")
    '/api/v1/namespaces/lab/pods/web/status'
    >>> path_of("deployments", namespace="lab", group_version="apps/v1")
    '/apis/apps/v1/namespaces/lab/deployments'

    Kubernetes' reference, "API concepts", has the forms. Raises ValueError for what would be another path.
    """
    group, slash, version = group_version.rpartition("/")
    parts = ["apis", group, version] if slash else ["api", version]
    if namespace:
        parts += ["namespaces", namespace]
    parts.append(resource)
    if name or subresource:
        parts.append(name)
    if subresource:
        parts += subresource.split("/")
    for part in parts:
        if part in ("", ".", ".."):
            raise ValueError(f"{part!r} is no part of an API server's path, in {'/'.join(parts)!r}")
    return "/" + "/".join(quote(part, safe=":") for part in parts)


def target(path: str, query: Mapping[str, object] | None = None) -> str:
    """A path with its query, as it goes over the line. True and False become what the API server reads so.

    Raises ValueError for what is no path.
    """
    if not path.startswith("/") or path.startswith("//"):
        raise ValueError(f"{path!r} is no path of an API server: it begins with one /, as /api/v1/pods")
    if not path.isascii() or not path.isprintable() or " " in path or "#" in path:
        raise ValueError(f"{path!r} has characters that no URL has; quote them (urllib.parse.quote)")
    if {".", ".."} & set(path.partition("?")[0].split("/")):
        raise ValueError(f"{path!r} has parts that lead to another path")
    given = {name: _text(value) for name, value in (query or {}).items() if value not in (None, "")}
    if not given:
        return path
    return f"{path}{'&' if '?' in path else '?'}{urlencode(given)}"


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
