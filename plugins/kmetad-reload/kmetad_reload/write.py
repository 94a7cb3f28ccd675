"""Metadata, written into a file that others read: replaced as a whole, so that nobody sees half of it.

Whoever may patch the Pod can't make a line of his own: variables are quoted, JSON is encoded, and a
template refuses a value with a control character.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from fcntl import LOCK_EX, LOCK_NB, flock
from typing import Literal

import msgspec

from kmetad import Fail, Snapshot
from kmetad.errors import FieldMissing
from kmetad.fieldpath import parse as parse_path
from kmetad.template import Template, parse_template

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_OWNER = re.compile(r"[A-Za-z0-9_.-]*(:[A-Za-z0-9_.-]+)?\$?")
_KEEP = -1  # chown(2): leave it as it is
_LARGEST_ID = 2**32 - 2  # the one above it is -1
_FORGING = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
"""What some reader takes for the end of a line, or a terminal for a command.

The surrogates stand for bytes that are no UTF-8: two values beside each other could become such a thing.
"""
_PATIENCE = 1.0
"""Seconds that another may take to write the same file,"""
_LOOK = 0.01
"""looked at so often."""

_REMEDIES = {
    errno.ENOENT: "{directory} isn't there; mount a volume there, or make the directory",
    errno.ENOTDIR: "{directory} is no directory",
    errno.EACCES: "make {directory} writable for kmetad's user (fsGroup, an emptyDir)",
    errno.EPERM: "another user's file is in its place where only its owner may replace it; remove that, or "
    "write to a directory of kmetad's own",
    errno.EROFS: "mount a volume there that can be written, such as an emptyDir",
    errno.EBUSY: "something is mounted at the file itself (subPath?); mount its directory instead",
    errno.ENOSPC: "make room, or give the volume more (sizeLimit)",
    errno.EDQUOT: "make room, or give the volume more (sizeLimit)",
    errno.ENAMETOOLONG: "shorten it; the temporary file beside it takes 8 characters more",
}


class Write(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which file, and what it is to hold."""

    file: str
    """Its absolute path, taken literally; the directory has to be there."""
    format: Literal["env", "json", "template"] = "env"
    """``env``: ``NAME='value'`` a line, quoted for a shell."""
    fields: dict[str, str] | None = None
    """Of ``env`` and ``json``: by name, a field path; None: what ``kmetad get -o`` prints."""
    template: str | None = None
    """The text, with placeholders."""
    owner: str = ""
    """``user``, ``user:group`` or ``:group``, by name or number; empty: kmetad's own."""
    mode: str = "0644"
    """Its permissions, in octal."""

    def __post_init__(self) -> None:
        name = self.file.rpartition("/")[2]
        if not self.file.startswith("/") or name in ("", ".", "..") or "\0" in self.file:
            raise ValueError("file: expected the absolute path of a file")
        if _holds_fields(self.file):
            raise ValueError(
                "file: a path can hold no field: whoever may patch the Pod would choose the file"
            )
        if (self.format == "template") != (self.template is not None):
            raise ValueError('format = "template" and template belong together')
        if self.template is not None:
            if self.fields is not None:
                raise ValueError("fields are for the formats env and json; a template names its own")
            _check_template(parse_template(self.template))
        if self.fields is not None and not self.fields:
            raise ValueError("fields is empty; leave it out for all that is known, or name some")
        for name, path in (self.fields or {}).items():
            _check_path("fields", path)
            if self.format == "env" and not _VARIABLE.fullmatch(name):
                raise ValueError(f"fields: {name!r} is no name of a variable")
        if not re.fullmatch("0?[0-7]{3}", self.mode):
            raise ValueError(f'mode: found {self.mode!r}, expected octal digits as in "0640"')
        if not _OWNER.fullmatch(self.owner):
            raise ValueError(f'owner: found {self.owner!r}, expected "user", "user:group" or ":group"')
        for name in self.owner.split(":"):
            if name.isdigit() and int(name) > _LARGEST_ID:
                raise ValueError(
                    f"owner: {name} is no number of a user or group; {_LARGEST_ID} is the largest"
                )


def write(options: Write, snapshot: Snapshot) -> bool:
    """Have the file hold what the Pod is now. Answers whether that made a difference. Raises Fail.

    A symbolic link is replaced, not followed. Others may write the same file at the same time,
    threads or processes: it's always whole, and what the last of them wrote.
    """
    content = render(options, snapshot)
    ids = _ids(options.owner)
    end = time.monotonic() + _PATIENCE
    while not _is_so(options, content, ids):
        try:
            with _explained(options.file):
                _replace(options, content, ids)
            return True
        except BlockingIOError:
            if time.monotonic() >= end:
                raise Fail(
                    f"{options.file}: another process is writing it; have only one rule, of one kmetad, do that"
                ) from None
            time.sleep(_LOOK)
    return False


def render(options: Write, snapshot: Snapshot) -> bytes:
    """What the file is to hold. Raises Fail."""
    if options.format == "template":
        assert options.template is not None
        template = parse_template(options.template)
        try:
            text = template.render(snapshot)
        except FieldMissing as missing:
            raise Fail(f"{options.file}: {missing}; the file stays as it is", retry=False) from None
        for path in template.paths:
            if _FORGING.search(snapshot.get(path) or ""):
                raise Fail(
                    f"{options.file}: {path} holds a control character, or a byte that is no UTF-8, with which "
                    "it could forge a line, so it is refused and the file stays as it is; the formats "
                    '"env" and "json" quote it',
                    retry=False,
                )
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
    """What would be written, and whether that made a difference; or why nothing would. Raises nothing."""
    try:
        content = render(options, snapshot)
        ids = _ids(options.owner)
    except Fail as fail:
        return f"write nothing: {fail.reason}"
    lines = content.count(b"\n") + (content[-1:] not in (b"", b"\n"))
    change = "which is as it would be"
    if not _is_so(options, content, ids):
        for obstacle in advice(options):
            return f"write nothing: {obstacle}"
        change = "which would change"
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


def _encoded(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        return text.encode("utf-8", "replace")


def _is_so(options: Write, content: bytes, ids: tuple[int, int]) -> bool:
    """Whether the file holds that already, and is whose it should be."""
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with open(os.open(options.file, flags), "rb") as found:
            status = os.fstat(found.fileno())
            owned = ids[0] in (_KEEP, status.st_uid) and ids[1] in (_KEEP, status.st_gid)
            if not stat.S_ISREG(status.st_mode) or not owned:
                return False
            if stat.S_IMODE(status.st_mode) != int(options.mode, 8):
                return False
            return status.st_size == len(content) and found.read(len(content) + 1) == content
    except OSError:
        return False


def _replace(options: Write, content: bytes, ids: tuple[int, int]) -> None:
    """Write it beside the file, and rename it. Raises BlockingIOError while another is doing just that."""
    directory, _, name = options.file.rpartition("/")
    # The same name each time: what a kill has left is found again.
    temporary = f"{directory}/.{name}.kmetad"
    descriptor = _made(temporary)
    try:
        # Whose it is and who may read it, before there is anything to read.
        _give(options, descriptor, ids)
        # By a second descriptor: what goes wrong as late as in close(2) is known before the file is in
        # its place, and the lock is held until then.
        with open(os.dup(descriptor), "wb") as file:
            file.write(content)
        # Not synced: whatever a crash of the node leaves is compared at kmetad's start, and written anew.
        if not _is_at(descriptor, temporary):  # taken away by who may not, or can't, heed the lock
            raise BlockingIOError
        os.replace(temporary, options.file)
    except BaseException:
        try:
            if _is_at(descriptor, temporary):
                os.unlink(temporary)
        except OSError:
            pass  # what went wrong before is what counts
        raise
    finally:
        os.close(descriptor)


def _made(temporary: str) -> int:
    """A descriptor of a new file of that name, locked: others who write so leave it alone until it's closed.

    Raises BlockingIOError while another has one.
    """
    try:
        left = os.open(temporary, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        pass
    except OSError:
        os.unlink(temporary)  # a link, or another user's
    else:
        try:
            _lock(left, temporary)
            os.unlink(temporary)
        finally:
            os.close(left)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(temporary, flags, 0o600)
    except FileExistsError:
        raise BlockingIOError from None
    try:
        _lock(descriptor, temporary)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _lock(descriptor: int, name: str) -> None:
    """Lock a file, and be sure that the name is still its own. Raises BlockingIOError."""
    try:
        flock(descriptor, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:
        pass  # a filesystem without locks
    if not _is_at(descriptor, name):
        raise BlockingIOError


def _is_at(descriptor: int, name: str) -> bool:
    """Whether an open file is the one of that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.lstat(name))
    except FileNotFoundError:
        return False


def _give(options: Write, descriptor: int, ids: tuple[int, int]) -> None:
    """Set owner and mode; in this order, for with another order a group too many could open it meanwhile."""
    try:
        if ids != (_KEEP, _KEEP):
            os.fchown(descriptor, *ids)
        os.fchmod(descriptor, int(options.mode, 8))
    except OSError as error:
        whom = f"give a file to {options.owner}" if options.owner else f"set mode {options.mode}"
        raise Fail(
            f"{options.file}: kmetad may not {whom} ({error.strerror}); run it as root, or with the "
            "capabilities CHOWN and FOWNER"
        ) from None


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


def _holds_fields(text: str) -> bool:
    try:
        return bool(parse_template(text).paths)
    except ValueError:
        return False  # braces of its own


def _check_path(option: str, path: str) -> None:
    """Raises FieldPathError, and ValueError for what isn't a single value."""
    if parse_path(path).type in ("labels", "annotations"):
        raise ValueError(f"{option}: {path} is many values; name one: {path}['KEY']")


def _check_template(template: Template) -> None:
    for _, path, default in template.parts:
        if path:
            _check_path("template", path)
        if _FORGING.search(default or ""):
            raise ValueError(f"template: the default of {path} holds a control character, which is refused")


@contextmanager
def _explained(file: str) -> Iterator[None]:
    """What the kernel refuses, and what to do about it. BlockingIOError goes through."""
    try:
        yield
    except BlockingIOError:
        raise
    except IsADirectoryError as error:
        if os.path.isdir(file):
            raise Fail(f"{file} is a directory; name a file in it") from None
        raise Fail(f"{file}: {error.filename} is in the way, a directory; remove it") from None
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "").format(directory=os.path.dirname(file))
        raise Fail(f"{file} can't be written: {error.strerror}{remedy and '; ' + remedy}") from None
