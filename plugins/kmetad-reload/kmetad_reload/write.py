"""Metadata, written into a file that others read: replaced as a whole, so that nobody sees half of it.

Whoever may patch the Pod can't make a line of his own: variables are quoted, JSON is encoded, and a
template refuses a value with a control character.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import msgspec

from kmetad import Fail, Snapshot
from kmetad.errors import FieldMissing
from kmetad.fieldpath import parse as parse_path
from kmetad.template import parse_template

if TYPE_CHECKING:
    from collections.abc import Iterator

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OWNER = re.compile(r"[A-Za-z0-9_.-]*(:[A-Za-z0-9_.-]+)?\$?")
_KEEP = -1  # chown(2): leave it as it is


class Write(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which file, and what it is to hold."""

    file: str
    format: Literal["env", "json", "template"] = "env"
    fields: dict[str, str] | None = None
    """Of ``env`` and ``json``: by name, a field path; None: what ``kmetad get -o`` prints."""
    template: str | None = None
    owner: str = ""
    """``user``, ``user:group`` or ``:group``, by name or number; empty: kmetad's own."""
    mode: str = "0644"

    def __post_init__(self) -> None:
        if not self.file.startswith("/") or self.file.endswith("/") or "\0" in self.file:
            raise ValueError("file: expected the absolute path of a file")
        if (self.format == "template") != (self.template is not None):
            raise ValueError('format = "template" and template belong together')
        if self.template is not None:
            if self.fields is not None:
                raise ValueError("fields are for the formats env and json; a template names its own")
            parse_template(self.template)
        for name, path in (self.fields or {}).items():
            parse_path(path)
            if path in ("metadata.labels", "metadata.annotations"):
                raise ValueError(f"fields: {path} is many values; name one: {path}['KEY']")
            if self.format == "env" and not _VARIABLE.fullmatch(name):
                raise ValueError(f"fields: {name!r} is no name of a variable")
        if not re.fullmatch("0?[0-7]{3}", self.mode):
            raise ValueError(f'mode: found {self.mode!r}, expected octal digits as in "0640"')
        if not _OWNER.fullmatch(self.owner):
            raise ValueError(f'owner: found {self.owner!r}, expected "user", "user:group" or ":group"')


def write(options: Write, snapshot: Snapshot) -> bool:
    """Have the file hold what the Pod is now. Answers whether that made a difference. Raises Fail.

    A symbolic link is replaced, not followed.
    """
    content = render(options, snapshot)
    user, group = _ids(options.owner)
    mode = int(options.mode, 8)
    if _is_so(options.file, content, user, group, mode):
        return False
    directory, _, name = options.file.rpartition("/")
    # A name of its own, the same each time: what a kill has left is found again.
    temporary = f"{directory}/.{name}.kmetad"
    with _explained(options):
        try:
            os.unlink(temporary)
        except FileNotFoundError:
            pass
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(temporary, flags, 0o600), "wb") as file:
                # Whose it is and who may read it, before there is anything to read.
                if (user, group) != (_KEEP, _KEEP):
                    os.fchown(file.fileno(), user, group)
                os.fchmod(file.fileno(), mode)
                file.write(content)
            # Not synced: after a crash of the node the Pod is gone, or all is written anew at the start.
            os.replace(temporary, options.file)
        except BaseException:
            try:
                os.unlink(temporary)
            except OSError:
                pass
            raise
    return True


def render(options: Write, snapshot: Snapshot) -> bytes:
    """What the file is to hold. Raises Fail."""
    if options.format == "template":
        assert options.template is not None
        try:
            text = parse_template(options.template).render(snapshot, lambda value: _one_line(options, value))
        except FieldMissing as missing:
            raise Fail(f"{options.file}: {missing}; the file stays as it is", retry=False) from None
        return _encoded(text)
    if options.format == "json":
        from json import dumps

        from kmetad import podview

        if options.fields is None:
            return dumps(podview.pod(snapshot), indent=2).encode("ascii") + b"\n"
        values = {name: podview.value(snapshot, path) for name, path in options.fields.items()}
        known = {name: value for name, value in values.items() if value is not None}
        return dumps(known, indent=2).encode("ascii") + b"\n"
    return _encoded("".join(line + "\n" for line in _variables(options, snapshot)))


def describe(options: Write, snapshot: Snapshot) -> str:
    """What would be written, and whether that made a difference."""
    try:
        content = render(options, snapshot)
        user, group = _ids(options.owner)
    except Fail as fail:
        return f"write nothing: {fail.reason}"
    lines = content.count(b"\n") + (content[-1:] not in (b"", b"\n"))
    same = _is_so(options.file, content, user, group, int(options.mode, 8))
    change = "which is as it would be" if same else "which would change"
    return f"write {options.file} ({options.format}, {lines} {'line' if lines == 1 else 'lines'}), {change}"


def advice(options: Write) -> Iterable[str]:
    """A directory that isn't there or can't be written; an owner that nobody knows."""
    directory = os.path.dirname(options.file)
    if not os.path.isdir(directory):
        yield f"{options.file} can't be written: {directory} is no directory that is there; mount a volume there"
    elif not os.access(directory, os.W_OK | os.X_OK):
        yield f"{options.file} can't be written: {directory} isn't writable for this user"
    elif os.path.isdir(options.file) and not os.path.islink(options.file):
        yield f"{options.file} can't be written: it is a directory"
    try:
        _ids(options.owner)
    except Fail as fail:
        yield fail.reason


def _variables(options: Write, snapshot: Snapshot) -> list[str]:
    """``NAME='value'``, quoted for a shell; what isn't known is left out."""
    from kmetad import podview

    if options.fields is None:
        return podview.environment(snapshot)
    from shlex import quote

    lines = []
    for name, path in options.fields.items():
        value = snapshot.get(path)
        if value is None:
            continue
        if "\0" in value:
            raise Fail(f"{options.file}: {path} holds a NUL, which no variable can", retry=False)
        lines.append(f"{name}={quote(value)}")
    return lines


def _one_line(options: Write, value: str) -> str:
    if any(ord(c) < 32 or 127 <= ord(c) < 160 or c in "\u2028\u2029" for c in value):
        raise Fail(
            f"{options.file}: a value holds a control character, with which it could forge a line, so it is "
            'refused and the file stays as it is; the formats "env" and "json" encode it',
            retry=False,
        )
    return value


def _encoded(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return text.encode("utf-8", "replace")


def _is_so(file: str, content: bytes, user: int, group: int, mode: int) -> bool:
    """Whether the file holds that already, and is whose it should be."""
    try:
        with open(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as found:
            status = os.fstat(found.fileno())
            owned = user in (_KEEP, status.st_uid) and group in (_KEEP, status.st_gid)
            if not stat.S_ISREG(status.st_mode) or stat.S_IMODE(status.st_mode) != mode or not owned:
                return False
            return status.st_size == len(content) and found.read(len(content) + 1) == content
    except OSError:
        return False


def _ids(owner: str) -> tuple[int, int]:
    """Numbers of user and group; -1 for what is to stay. Raises Fail."""
    user, _, group = owner.partition(":")
    try:
        return _user(user), _group(group)
    except KeyError:
        raise Fail(
            f"owner {owner!r}: there is no such user or group here; a number does without /etc/passwd"
        ) from None


def _user(name: str) -> int:
    if not name or name.isdigit():
        return int(name or _KEEP)
    from pwd import getpwnam

    return getpwnam(name).pw_uid


def _group(name: str) -> int:
    if not name or name.isdigit():
        return int(name or _KEEP)
    from grp import getgrnam

    return getgrnam(name).gr_gid


@contextmanager
def _explained(options: Write) -> Iterator[None]:
    """What the kernel refuses, and what to do about it."""
    file = options.file
    directory = os.path.dirname(file)
    try:
        yield
    except FileNotFoundError:
        raise Fail(f"{file}: {directory} isn't there; mount a volume there, or make the directory") from None
    except IsADirectoryError:
        raise Fail(f"{file} is a directory; name a file in it") from None
    except NotADirectoryError:
        raise Fail(f"{file}: {directory} is no directory") from None
    except PermissionError as error:
        if options.owner and os.access(directory, os.W_OK):
            who = f"may not give a file to {options.owner}"
            raise Fail(f"{file}: kmetad {who}; run it as root, or with the capability CHOWN") from None
        remedy = f"make {directory} writable for kmetad's user (fsGroup, an emptyDir)"
        raise Fail(f"{file} can't be written: {error.strerror}; {remedy}") from None
    except OSError as error:
        raise Fail(f"{file} can't be written: {error.strerror}") from None
