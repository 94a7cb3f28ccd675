"""What there is to read when nobody has said: volumes, variables and the service account by convention."""

from __future__ import annotations

import os
from collections.abc import Mapping

from kmetad._sources.content import Source
from kmetad._sources.environment import Environment
from kmetad._sources.names import unique_name
from kmetad._sources.serviceaccount import DIRECTORY, ServiceAccount
from kmetad._sources.volume import Volume

VOLUMES = ("/etc/podinfo", "/etc/downward", "/etc/istio/pod")
"""Where manifests everywhere mount the Downward API."""

_RESERVED = ("env", "token")


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
    """The conventional directories, and every other mount that is swapped and holds labels or annotations."""
    found: dict[str, Volume] = {}
    for path in dict.fromkeys([*(_under(root, path) for path in VOLUMES), *_mounts(root)]):
        if _is_downward(path):
            name = unique_name(path, {*found, *_RESERVED})
            found[name] = Volume(name, path, digest_key=digest_key)
    return list(found.values())


def _is_downward(path: str) -> bool:
    """Safest is the ``..data`` link; then a file that only the Downward API writes."""
    if not os.path.islink(os.path.join(path, "..data")):
        return False
    return any(os.path.isfile(os.path.join(path, "..data", name)) for name in ("labels", "annotations"))


def _mounts(root: str) -> list[str]:
    """The mount points of this process (proc_pid_mountinfo(5)); none where there is no /proc."""
    try:
        with open(_under(root, "/proc/self/mountinfo"), encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return []
    points = [line.split(" ")[4] for line in lines if line.count(" ") > 4]
    return [_under(root, point) for point in points if "\\" not in point]


def _under(root: str, path: str) -> str:
    return os.path.join(root, path.lstrip("/"))
