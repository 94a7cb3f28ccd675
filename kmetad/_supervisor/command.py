"""The app's command: found by PATH, started as a shell would, and what it means if that fails."""

from __future__ import annotations

import errno
import os

from kmetad._supervisor import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import TypeVar

    T = TypeVar("T")

NOT_EXECUTABLE = 126
NOT_FOUND = 127
"""Exit codes, as shells and env(1) have them."""

_SHELL = "/bin/sh"
_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")


class CommandError(Exception):
    """The command can't be run; ``code`` is the exit code for that."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


def environment() -> dict[str, str]:
    """What kmetad was started with. The interpreter may have set LC_CTYPE for itself since (PEP 538)."""
    environ = dict(os.environ)
    if environ.get("LC_CTYPE") in _COERCED:
        try:
            with open("/proc/self/environ", "rb") as file:
                started_with = dict(
                    variable.split(b"=", 1) for variable in file.read().split(b"\0") if b"=" in variable
                )
        except OSError:
            return environ  # no /proc: nobody can know
        if b"LC_CTYPE" in started_with:
            environ["LC_CTYPE"] = os.fsdecode(started_with[b"LC_CTYPE"])
        else:
            del environ["LC_CTYPE"]
    return environ


def spawn(
    command: Sequence[str],
    environ: Mapping[str, str],
    mask: Iterable[int],
    actions: Sequence[tuple[int, ...]] = (),
) -> int:
    """Start it as the leader of a process group of its own. Answers its process id. Raises CommandError.

    ``mask``: the signals that it starts with blocked. Descriptors and all else are inherited,
    but for what ``actions`` (os.posix_spawn) do with them.
    """

    def start(path: str, argv: list[str]) -> int:
        return os.posix_spawn(
            path,
            argv,
            environ,
            file_actions=actions,
            setpgroup=0,
            setsigmask=mask,
            setsigdef=signals.CHANGED_BY_PYTHON,
        )

    return launch(command, environ, start)


def launch(command: Sequence[str], environ: Mapping[str, str], start: Callable[[str, list[str]], T]) -> T:
    """Call ``start(path, argv)`` for each place on PATH where the command may be, until one works.

    A file without a ``#!`` line is given to /bin/sh, as execvp(3) does. Raises CommandError.
    """
    argv = [*command]
    failed: OSError | None = None
    for path in _candidates(argv[0], environ):
        try:
            try:
                return start(path, argv)
            except OSError as error:
                if error.errno != errno.ENOEXEC:
                    raise
            return start(_SHELL, [_SHELL, path, *argv[1:]])
        except OSError as error:
            error.filename = path
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EACCES):
                raise _explained(argv[0], error) from None
            # As execvp(3): go on looking, and remember what was there, but not to be run.
            if failed is None or failed.errno != errno.EACCES:
                failed = error
        except ValueError:  # a NUL
            raise CommandError(f"{argv[0]!r} can't be run: a NUL byte in it", NOT_EXECUTABLE) from None
    raise _explained(argv[0], failed)


def _candidates(name: str, environ: Mapping[str, str]) -> list[str]:
    """Where a command may be: its own path, or a file of that name in each directory of PATH."""
    if not name:
        return []
    if "/" in name:
        return [name]
    path = environ.get("PATH", os.defpath)
    return [os.path.join(directory or ".", name) for directory in path.split(":")]


def _explained(name: str, error: OSError | None) -> CommandError:
    """What happened, where, and what to do."""
    if not name:
        return CommandError("the command is empty: name a program after `--`", NOT_FOUND)
    path = name if error is None else error.filename
    if error is None or error.errno in (errno.ENOENT, errno.ENOTDIR):
        if os.path.isfile(path):
            return CommandError(
                f"{path} can't be run: the interpreter or loader that it names isn't there "
                "(its `#!` line, or the C library of another distribution)",
                NOT_FOUND,
            )
        if "/" in name:
            return CommandError(f"{name}: no such file in this container", NOT_FOUND)
        return CommandError(f"{name}: no such command in PATH", NOT_FOUND)
    if error.errno == errno.EACCES and os.path.isdir(path):
        return CommandError(f"{path} is a directory, not a program", NOT_EXECUTABLE)
    if error.errno == errno.EACCES:
        return CommandError(
            f"{path} can't be run: permission denied (is it executable for user {os.geteuid()}, `chmod +x`, "
            "and its file system not mounted noexec?)",
            NOT_EXECUTABLE,
        )
    if error.errno == errno.E2BIG:
        return CommandError(
            f"{path} can't be run: its arguments and environment are too long", NOT_EXECUTABLE
        )
    return CommandError(f"{path} can't be run: {error.strerror}", NOT_EXECUTABLE)
