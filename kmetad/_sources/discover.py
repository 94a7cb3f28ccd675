"""What there is to read when nobody has said: volumes, variables and the service account by convention."""

from __future__ import annotations

import os
from collections.abc import Mapping

from kmetad._sources.content import Source
from kmetad._sources.environment import Environment
from kmetad._sources.names import unique_name
from kmetad._sources.permissions import may
from kmetad._sources.serviceaccount import DIRECTORY, ServiceAccount
from kmetad._sources.volume import Volume

VOLUMES = ("/etc/podinfo", "/etc/downward", "/etc/istio/pod")
"""Where manifests everywhere mount the Downward API."""

_RESERVED = ("env", "token")
_FILES = ("labels", "annotations")

# A look into one of these may wait for another machine, or for a program; the kubelet's are never of them.
_MAY_HANG = ("afs", "autofs", "ceph", "cifs", "fuse", "gluster", "lustre", "nfs", "smb")


def discover(environ: Mapping[str, str], *, digest_key: bytes, root: str = "/") -> list[Source]:
    """All that can be found: Downward API volumes, then the environment, then the service account.

    ``root`` is for tests: where the file system begins.
    """
    sources: list[Source] = [*discover_volumes(digest_key=digest_key, root=root), Environment("env", environ)]
    account = _under(root, DIRECTORY)
    if os.path.isdir(account):
        sources.append(ServiceAccount("token", account, digest_key))
    return sources


def discover_volumes(*, digest_key: bytes, root: str = "/") -> list[Volume]:
    """The conventional directories, and every other mount that is swapped and holds labels or annotations.

    A conventional directory that may not be looked into is among them, so that
    reading it says which permission is missing.
    """
    usual = [
        path for path in (_under(root, path) for path in VOLUMES) if _is_volume(path) or _is_closed(path)
    ]
    mounted = [path for path in _mounts(root) if os.path.islink(f"{path}/..data") and _is_volume(path)]
    found: dict[str, Volume] = {}
    seen = set()
    for path in (*usual, *mounted):
        real = os.path.realpath(path)
        if real not in seen:
            seen.add(real)
            name = unique_name(path, {*found, *_RESERVED})
            found[name] = Volume(name, path, digest_key=digest_key)
    return list(found.values())


def _is_volume(path: str) -> bool:
    """Whether it holds a file that only the Downward API writes.

    ``..data`` first: the links beside it lag behind. Without it, it is a plain
    directory, or files mounted alone, of which ``kmetad check`` tells more.
    """
    return any(os.path.isfile(f"{path}/{place}{name}") for place in ("..data/", "") for name in _FILES)


def _is_closed(path: str) -> bool:
    return os.path.isdir(path) and not may(path, os.R_OK | os.X_OK)


def _mounts(root: str) -> list[str]:
    """This process's mount points (proc_pid_mountinfo(5)); none where there is no /proc."""
    try:
        with open(
            _under(root, "/proc/self/mountinfo"), encoding="utf-8", errors="surrogateescape", newline="\n"
        ) as file:
            lines = file.read().split("\n")
    except OSError:
        return []
    points = []
    for line in lines:
        # 36 35 98:0 /root /mount/point rw,noatime master:1 - tmpfs tmpfs rw
        head, _, tail = line.partition(" - ")
        columns = head.split(" ")
        if len(columns) > 5 and not tail.startswith(_MAY_HANG):
            points.append(_under(root, _unescaped(columns[4])))
    return points


def _unescaped(text: str) -> str:
    """Blank, tab, newline and backslash stand as octal escapes in mountinfo."""
    if "\\" not in text:
        return text
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text


def _under(root: str, path: str) -> str:
    return os.path.join(root, path.lstrip("/"))
