"""kubeconfig files, read and merged: which context is meant, with its cluster and its user.

The form is client-go's (tools/clientcmd/api/v1), and what several files mean together, too: of each
name the first file that has it counts, and so it is for the current context; relative paths start at
their own file. Messages name the file, the entry and the key. None holds a value, but for names and paths.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from kmetad.api.errors import CredentialsError


@dataclass(frozen=True, slots=True)
class Entry:
    """A named part of a kubeconfig: a cluster, a context or a user."""

    kind: str
    name: str
    file: str
    values: Mapping[str, Any]

    def __str__(self) -> str:
        return f"{self.file}, {self.kind} {self.name}"

    def __repr__(self) -> str:
        return f"<{self}>"

    def __bool__(self) -> bool:
        return bool(self.values)

    def fault(self, what: str) -> CredentialsError:
        """What is wrong with it, with its place."""
        return CredentialsError(f"{self} {what}")

    def text(self, key: str) -> str:
        """Empty where there is none. Raises CredentialsError for what is no text."""
        value = self.values.get(key)
        if value is None:
            return ""
        if not isinstance(value, str):
            raise CredentialsError(f"{self}: {key} has to be a text: put it in quotes")
        return value

    def flag(self, key: str) -> bool:
        """False where there is none. Raises CredentialsError for what is neither true nor false."""
        value = self.values.get(key, False)
        if not isinstance(value, bool):
            raise CredentialsError(f"{self}: {key} has to be true or false")
        return value

    def path(self, key: str) -> str:
        """A path, which is relative to its own file; empty where there is none."""
        value = self.text(key)
        return os.path.join(os.path.dirname(os.path.abspath(self.file)), value) if value else ""

    def content(self, key: str, what: str) -> bytes:
        """What ``key-data`` holds in base64, else the file that ``key`` names; empty where there is neither.

        A file that is empty, as one that is just being written, isn't the same as none. Raises CredentialsError.
        """
        data, path = self.text(f"{key}-data"), self.path(key)
        if data:
            from base64 import b64decode

            try:
                return b64decode("".join(data.split()), validate=True)
            except ValueError:  # it holds what it failed at
                raise CredentialsError(f"{self}: {key}-data isn't base64") from None
        if not path:
            return b""
        found = read(path, f"{self}: {what}")
        if not found.strip():
            raise CredentialsError(f"{self}: {what}, {path}, is empty")
        return found


@dataclass(frozen=True, slots=True)
class Chosen:
    """A context, with its cluster and its user (without any values where it has none)."""

    context: Entry
    cluster: Entry
    user: Entry
    files: tuple[str, ...]


def choose(files: str, context: str | None) -> Chosen:
    """Read the files and find the context. Raises CredentialsError."""
    paths = [os.path.expanduser(path) for path in files.split(os.pathsep) if path]
    known: dict[str, dict[str, Entry]] = {"context": {}, "cluster": {}, "user": {}}
    current = ""
    there = [path for path in paths if len(paths) == 1 or os.path.exists(path)]
    if not there:
        raise CredentialsError(
            f"no kubeconfig: there is no {' and no '.join(paths) or 'path in $KUBECONFIG'}"
        )
    for path in there:
        document = _yaml(path, alone=len(there) == 1)
        named = document.get("current-context") or ""
        current = current or (named if isinstance(named, str) else "")
        for kind, entries in known.items():
            for entry in _entries(document, kind, path):
                entries.setdefault(entry.name, entry)
    name = context or current
    shown = ":".join(there)
    if not name:
        raise CredentialsError(
            f"{shown}: no current-context; name one with --context ({_list(known['context'])}), "
            "or `kubectl config use-context NAME`"
        )
    chosen = _get(known["context"], name, f"{shown}: the current context" if not context else shown)
    cluster, user = chosen.text("cluster"), chosen.text("user")
    if not cluster:
        raise chosen.fault("names no cluster")
    return Chosen(
        context=chosen,
        cluster=_get(known["cluster"], cluster, str(chosen)),
        user=_get(known["user"], user, str(chosen)) if user else Entry("user", "", chosen.file, {}),
        files=tuple(there),
    )


def _get(entries: Mapping[str, Entry], name: str, place: str) -> Entry:
    if name in entries:
        return entries[name]
    raise CredentialsError(f"{place}: there is no {name!r}; known are {_list(entries)}")


def _list(entries: Iterable[str]) -> str:
    return ", ".join(sorted(entries)) or "none"


def _entries(document: Mapping[str, Any], kind: str, path: str) -> Iterable[Entry]:
    """``clusters: [{name: NAME, cluster: {…}}]``"""
    items = document.get(f"{kind}s") or []
    if not isinstance(items, list):
        raise CredentialsError(f"{path}: {kind}s has to be a list")
    for number, item in enumerate(items):
        name = item.get("name") if isinstance(item, dict) else None
        if not isinstance(name, str):
            raise CredentialsError(f"{path}: {kind}s[{number}] has no name (a text)")
        values = item.get(kind)
        if values is not None and not isinstance(values, dict):
            raise CredentialsError(f"{path}, {kind} {name}: {kind} has to be a mapping")
        yield Entry(kind, name, path, values or {})


def _yaml(path: str, *, alone: bool) -> Mapping[str, Any]:
    """One of several may hold little or nothing. Raises CredentialsError, never quoting the file as PyYAML does."""
    import yaml

    content = read(path, "the kubeconfig")
    try:
        document = yaml.safe_load(content)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: a date that is none
        mark = getattr(error, "problem_mark", None)
        place = f"{path}:{mark.line + 1}" if mark else path
        raise CredentialsError(f"{place}: this isn't YAML, so it is no kubeconfig") from None
    if document is None and alone:
        raise CredentialsError(f"{path}: this kubeconfig is empty")
    if document is None:
        return {}
    parts = {"clusters", "contexts", "users", "current-context"}
    if not isinstance(document, dict) or (alone and not parts & set(document)):
        raise CredentialsError(f"{path}: this is no kubeconfig: it has neither clusters nor contexts")
    return document


def read(path: str, what: str) -> bytes:
    """Raises CredentialsError."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise CredentialsError(f"{what}: {path} is no file")  # a pipe would be waited for
        with open(path, "rb") as file:
            return file.read()
    except ValueError:  # a NUL
        raise CredentialsError(f"{what}: {path!r} can't be a path") from None
    except FileNotFoundError:
        raise CredentialsError(f"{what}: there is no {path}") from None
    except OSError as error:
        hint = f"; you are user {os.geteuid()}" if isinstance(error, PermissionError) else ""
        raise CredentialsError(f"{what}: {path} can't be read: {error.strerror}{hint}") from None


def fingerprint(paths: Iterable[str]) -> tuple[object, ...]:
    """Differs when a file was written, replaced, or came and went."""
    marks: list[object] = []
    for path in paths:
        try:
            state = os.stat(path)
            marks.append((state.st_mtime_ns, state.st_size, state.st_ino, state.st_dev))
        except OSError:
            marks.append(None)
    return tuple(marks)
