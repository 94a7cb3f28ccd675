"""What a volume's items and ``[env]`` may name: KUBERNETES' table of fields, resources and divisors."""

from __future__ import annotations

from typing import Any

from kmetad._config.problems import Wrong, did_you_mean, nearest, one_of, quoted
from kmetad.errors import FieldPathError
from kmetad.fieldpath import ANYWHERE, ENV_ONLY, VOLUME_ONLY, parse
from kmetad.quantity import Quantity

_RESOURCES = ("cpu", "memory", "ephemeral-storage", "hugepages-2Mi")
_QUOTES = "'\""

FIELD_EXPECTED = "a field path such as \"metadata.labels['app']\""
RESOURCE_EXPECTED = 'a resource such as "limits.cpu" or "requests.memory"'

# validContainerResourceDivisorFor… of k8s.io/kubernetes, pkg/apis/core/validation/validation.go
CPU_DIVISORS = ("1m", "1")
OTHER_DIVISORS = ("1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei")


def volume_field(value: Any) -> str:
    """A field path that a volume can hold; raises Wrong."""
    path = _field(value, (*ANYWHERE, *VOLUME_ONLY))
    if path in ENV_ONLY:
        raise Wrong(
            "a field path that a volume can hold",
            f"Kubernetes offers {path} only in the environment: declare it in [env]",
        )
    return path


def env_field(value: Any) -> str:
    """A field path that an environment variable can hold; raises Wrong."""
    path = _field(value, (*ANYWHERE, *ENV_ONLY))
    if path in VOLUME_ONLY:
        raise Wrong(
            "a field path that a variable can hold",
            f"Kubernetes offers {path}, whole, only in volumes; a variable holds one key: {path}['KEY']",
        )
    return path


def resource(value: Any) -> str:
    """``limits.cpu``; raises Wrong."""
    if not isinstance(value, str):
        raise Wrong(RESOURCE_EXPECTED)
    try:
        path = parse(value)
    except FieldPathError:
        near = nearest(value, [f"{of}.{name}" for of in ("requests", "limits") for name in _RESOURCES])
        raise Wrong(RESOURCE_EXPECTED, did_you_mean(near) if near else "") from None
    if path.type != "resource":
        raise Wrong(RESOURCE_EXPECTED, f"did you mean field = {quoted(value)}?")
    if path.container:
        bare = value.removeprefix(f"{path.container}.")
        meant = f"resource = {quoted(bare)}, container = {quoted(path.container)}"
        raise Wrong(RESOURCE_EXPECTED, f"did you mean {meant}?")
    return value


def divisor_problem(resource_path: str, divisor: Quantity) -> Wrong | None:
    """What is wrong with the divisor of a resource, if something is."""
    cpu = resource_path.rpartition(".")[2] == "cpu"
    allowed = CPU_DIVISORS if cpu else OTHER_DIVISORS
    if str(divisor) in allowed:
        return None
    near = "1m" if cpu and divisor < Quantity("1") else nearest(str(divisor), allowed)
    return Wrong(f"{one_of(map(quoted, allowed))} for {resource_path}", did_you_mean(near) if near else "")


def _field(value: Any, offered: tuple[str, ...]) -> str:
    if not isinstance(value, str):
        raise Wrong(FIELD_EXPECTED)
    try:
        path = parse(value)
    except FieldPathError:
        near = _nearest_field(value, offered)
        raise Wrong(FIELD_EXPECTED, did_you_mean(near) if near else "") from None
    if path.type == "resource":
        raise Wrong(FIELD_EXPECTED, f"did you mean {{ resource = {quoted(value)} }}?")
    if path.type in ("label", "annotation"):
        return f"metadata.{path.type}s['{path.key}']"  # whichever quotation marks it was written with
    return value


def _nearest_field(value: str, offered: tuple[str, ...]) -> str:
    for of in ("labels", "annotations"):
        # metadata.labels.app, metadata.lables['app'], labels[app]
        for head in (f"metadata.{of}", of):
            rest = value[len(head) :]
            if value.startswith(head) and rest[:1] in (".", "["):
                return f"metadata.{of}['{rest.strip('.[]').strip(_QUOTES)}']"
    head, bracket, rest = value.partition("[")
    near = nearest(head, VOLUME_ONLY if bracket else offered)
    return f"{near}['{rest.strip('[]').strip(_QUOTES)}']" if near and bracket else near
