"""What a file or a variable means: as declared, else by the names that people already use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from kmetad.quantity import Quantity


@dataclass(frozen=True, slots=True)
class Item:
    """A declared file or variable: a field, or a resource with its container and divisor."""

    field: str | None = None
    """A field path, as ``metadata.name``."""
    resource: str | None = None
    """``limits.cpu``."""
    container: str = ""
    divisor: Quantity | None = None

    @property
    def key(self) -> str:
        """The key of the changes that are about it."""
        return f"{self.container}.{self.resource}" if self.resource is not None else self.field or ""


def is_name(text: str) -> bool:
    """Whether it may be the name of a Pod, node or service account (a DNS subdomain, RFC 1123)."""
    return 0 < len(text) <= 253 and all(_is_label(part, 253) for part in text.split("."))


def is_namespace(text: str) -> bool:
    """Whether it may be a namespace (a DNS label, RFC 1123)."""
    return _is_label(text, 63)


def is_uid(text: str) -> bool:
    """Whether it has the form of a UUID, as Pods' uids have; a static Pod's is a hash of 32 digits."""
    lengths = [len(part) for part in text.split("-")]
    return lengths in ([8, 4, 4, 4, 12], [32]) and _HEX.issuperset(text)


def is_ip(text: str) -> bool:
    """Whether it is an IPv4 or IPv6 address."""
    from _socket import AF_INET, AF_INET6, inet_pton  # socket imports selectors, enum and more

    try:
        inet_pton(AF_INET6 if ":" in text else AF_INET, text)
    except (OSError, ValueError):
        return False
    return True


def are_ips(text: str) -> bool:
    """Whether these are addresses with commas between."""
    return all(is_ip(part) for part in text.split(","))


def is_integer(text: str) -> bool:
    """Whether it is a bare integer, as the kubelet writes resources: from 0 to 2**63 - 1, an int64 of Go."""
    return len(text) <= 19 and text.isascii() and text.isdigit() and int(text) < 2**63


Check = Callable[[str], bool]

BY_FILE: dict[str, tuple[Item, Check]] = {
    "name": (Item(field="metadata.name"), is_name),
    "namespace": (Item(field="metadata.namespace"), is_namespace),
    "uid": (Item(field="metadata.uid"), is_uid),
    "cpu_limit": (Item(resource="limits.cpu"), is_integer),
    "cpu_request": (Item(resource="requests.cpu"), is_integer),
    "mem_limit": (Item(resource="limits.memory"), is_integer),
    "mem_request": (Item(resource="requests.memory"), is_integer),
}
"""Files of a downward volume that nobody declared: by name, and only if the content has that form.

A divisor is never guessed, so these resources stay bare numbers.
"""

BY_VARIABLE: dict[str, tuple[Item, Check]] = {
    "POD_NAME": (Item(field="metadata.name"), is_name),
    "POD_NAMESPACE": (Item(field="metadata.namespace"), is_namespace),
    "POD_UID": (Item(field="metadata.uid"), is_uid),
    "POD_IP": (Item(field="status.podIP"), is_ip),
    "POD_IPS": (Item(field="status.podIPs"), are_ips),
    "HOST_IP": (Item(field="status.hostIP"), is_ip),
    "HOST_IPS": (Item(field="status.hostIPs"), are_ips),
    "NODE_NAME": (Item(field="spec.nodeName"), is_name),
    "SERVICE_ACCOUNT": (Item(field="spec.serviceAccountName"), is_name),
    "POD_SERVICE_ACCOUNT": (Item(field="spec.serviceAccountName"), is_name),
    "CPU_LIMIT": (Item(resource="limits.cpu"), is_integer),
    "CPU_REQUEST": (Item(resource="requests.cpu"), is_integer),
    "MEM_LIMIT": (Item(resource="limits.memory"), is_integer),
    "MEM_REQUEST": (Item(resource="requests.memory"), is_integer),
    "MEMORY_LIMIT": (Item(resource="limits.memory"), is_integer),
    "MEMORY_REQUEST": (Item(resource="requests.memory"), is_integer),
}
"""Variables that nobody declared, each also with one of ``PREFIXES`` before it."""

PREFIXES = ("", "MY_", "K8S_", "KUBE_")

BY_OTEL: dict[str, tuple[Item, Check]] = {
    "k8s.pod.name": BY_VARIABLE["POD_NAME"],
    "k8s.pod.uid": BY_VARIABLE["POD_UID"],
    "k8s.namespace.name": BY_VARIABLE["POD_NAMESPACE"],
    "k8s.node.name": BY_VARIABLE["NODE_NAME"],
}
"""Attributes in ``OTEL_RESOURCE_ATTRIBUTES`` (OpenTelemetry's semantic conventions for Kubernetes)."""

_HEX = frozenset("0123456789abcdef-")
_LABEL = frozenset("0123456789abcdefghijklmnopqrstuvwxyz-")


def _is_label(text: str, longest: int) -> bool:
    return 0 < len(text) <= longest and _LABEL.issuperset(text) and text[0] != "-" != text[-1]
