"""What will never work, said at the start (``kmetad run``) and by ``kmetad check``."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from kmetad._delivery.match import Match
from kmetad._supervisor.settings import output
from kmetad.events import SUBJECTS
from kmetad.metadata import Snapshot

if TYPE_CHECKING:
    from kmetad._config.model import Config
    from kmetad._plugins import Instance

_PARTS = {change.type: part for change, part in SUBJECTS}
_SHOWN = 10
_MOST = 100
_FOR_EVERY_DAEMON = ("drain_timeout",)


def of_all(config: Config, snapshot: Snapshot) -> list[str]:
    """Everything below, for a configuration and what the Pod is now."""
    declared = [item if isinstance(item, str) else item.field or "" for item in config.env.values()]
    advice = of_volumes({name: volume.path for name, volume in config.volumes.items()})
    advice += of_environment(declared, snapshot)
    advice += of_resources(snapshot)
    for name, table in config.plugins.items():
        advice += of_match(name, table.match, snapshot)
    return advice


def of_plugin(instance: Instance, snapshot: Snapshot) -> list[str]:
    """What a plugin itself says won't work here, by its method ``advice``, if it has one."""
    own = getattr(instance.plugin, "advice", None)
    if own is None:
        return []
    try:
        return [f"plugins.{instance.name}: {sentence}" for sentence in islice(own(snapshot), _MOST)]
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plugin's: whatever it is, it isn't the start's
        return [f"plugins.{instance.name}: its advice raised {type(error).__name__}: {error}"]


def of_app_env(config: Config, instances: Iterable[str]) -> list[str]:
    """Instances whose variables (``kmetad_app_env``) come too late for the app's first start."""
    if config.run.start == "after-sync":
        return []
    return [
        f"plugins.{name} has variables for the app (kmetad_app_env), but the app is started at once, without "
        f'them; set [run] start = "after-sync"'
        for name in instances
    ]


def of_log_tags(config: Config, instances: Iterable[str]) -> list[str]:
    """Instances whose tags (``kmetad_log_tags``) reach no line, since the app's output doesn't pass by."""
    if output(config) != "inherit":
        return []
    return [
        f"plugins.{name} has tags for the app's log lines (kmetad_log_tags), but they go straight to where kmetad's "
        f'own output goes; set [run] output = "tag"'
        for name in instances
    ]


def of_no_app(config: Config, plugins: Iterable[Instance]) -> list[str]:
    """Keys of ``[run]``, and plugins, that mean nothing to a daemon beside which no app is wrapped."""
    start = "start the app with `kmetad run -- CMD`, or name it in run.command"
    advice = [
        f"plugins.{plugin.name} has {what} ({hook}), but kmetad wraps no app here; {start}"
        for plugin in plugins
        for hook, what in (
            ("kmetad_app_env", "variables for the app"),
            ("kmetad_log_tags", "tags for the app's log lines"),
        )
        if hook in plugin.hooks
    ]
    idle = [
        f"run.{name}"
        for name in config.run.__struct_fields__
        if name not in _FOR_EVERY_DAEMON and getattr(config.run, name) != getattr(type(config.run)(), name)
    ]
    if idle:
        advice.append(f"{', '.join(idle)} can't do anything, for kmetad wraps no app here; {start}")
    return advice


def of_volumes(paths: Mapping[str, str], mountinfo: str | None = None) -> list[str]:
    """Volumes, by name, whose files the kubelet will never change: subPath mounts."""
    text = _read_mountinfo() if mountinfo is None else mountinfo
    roots = dict(_mounts(text))
    advice = []
    for name, path in paths.items():
        for mounted in _mounts_of(os.path.realpath(path), roots):
            if _is_one_generation(roots[mounted]):
                advice.append(
                    f"volumes.{name}: {mounted} is a subPath mount, which never changes while the Pod runs; "
                    f"mount the whole volume as a directory of its own"
                )
                break
    return advice


def of_environment(declared: Iterable[str], snapshot: Snapshot) -> list[str]:
    """Field paths of ``[env]`` that do change, but can't in an environment, and that no volume carries."""
    advice = []
    for path in declared:
        for prefix, part, values in (
            ("metadata.labels['", "labels", snapshot.labels),
            ("metadata.annotations['", "annotations", snapshot.annotations),
        ):
            if path.startswith(prefix) and path[len(prefix) : -2] not in values:
                advice.append(
                    f"{path} is only in the environment, which never follows the Pod; "
                    f"project metadata.{part} into a downwardAPI volume"
                )
    return advice


def of_resources(snapshot: Snapshot) -> list[str]:
    """Requests and limits that are bare numbers, since nobody declared their divisor."""
    advice = []
    for key, value in snapshot.resources.items():
        if value.divisor is None:
            container, _, resource = key.partition(".")
            of_container = f" of {container}" if container else ""
            source = snapshot.source_of("resource", key)
            advice.append(
                f"{source}: {resource}{of_container} is the bare number {value.number}, whose unit nobody can know; "
                f"declare the divisor that the Pod's manifest has (1 where it has none): "
                f'{{ resource = "{resource}", divisor = "1" }}'
            )
    return advice


def of_match(instance: str, patterns: Sequence[str], snapshot: Snapshot) -> list[str]:
    """Patterns of ``plugins.INSTANCE.match`` that match nothing there is now."""
    advice = []
    for pattern in patterns:
        type_ = pattern.partition(":")[0]
        match = Match([pattern])
        parts = _PARTS if type_ == "*" else {type_: _PARTS[type_]}
        there = [f"{t}:{key}" for t, part in parts.items() for key in getattr(snapshot, part)]
        if any(match.covers(*key.split(":", 1)) for key in there):
            continue
        known = ", ".join(there[:_SHOWN]) + (
            f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else ""
        )
        advice.append(
            f"plugins.{instance}.match: {pattern!r} matches nothing there is now; "
            + (f"there are {known}" if there else f"there is no {type_} at all")
        )
    return advice


def _read_mountinfo() -> str:
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def _mounts(mountinfo: str) -> Iterable[tuple[str, str]]:
    """Mount point and root within the mounted file system, of each line (proc_pid_mountinfo(5))."""
    for line in mountinfo.splitlines():
        columns = line.split(" ")
        if len(columns) > 4:
            yield _unescape(columns[4]), _unescape(columns[3])


def _unescape(text: str) -> str:
    """Blank, tab, newline and backslash stand as octal escapes in mountinfo."""
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text


def _mounts_of(path: str, mounts: Iterable[str]) -> list[str]:
    """The mount at a path, or those of single files right in it."""
    return [mount for mount in mounts if mount == path or os.path.dirname(mount) == path]


def _is_one_generation(root: str) -> bool:
    """A subPath is bound to what ``..data`` led to when the container started: ``/..2026_11_23_04_31_50.35/labels``."""
    return any(part.startswith("..") and part[2:6].isdigit() and part[6:7] == "_" for part in root.split("/"))
