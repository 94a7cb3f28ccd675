"""What a command raises becomes an exit code and, where that helps, a message."""

from __future__ import annotations

import errno
import os
import sys

from kmetad.errors import KmetadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType
    from typing import NoReturn

USAGE = 2
"""argparse's exit code for wrong usage."""

_INT, _PIPE = 2, 13


def guarded(command: Callable[[], int], failure: int) -> int:
    """Call a command; answers its exit code, ``failure`` where it could not do its work."""
    import signal

    try:
        # What a terminal can't encode is escaped, never a crash.
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:  # as it is where the descriptor is closed (kmetad … >&-)
                stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        # As process 1 of a container, TERM without a handler would be ignored by the kernel.
        signal.signal(signal.SIGTERM, _terminate)
        try:
            code = command()
        except SystemExit as ended:  # argparse: help, version, usage; or TERM
            if isinstance(ended.code, str):  # sys.exit("why") in a plugin's command
                raise KmetadError(ended.code) from None
            code = ended.code if isinstance(ended.code, int) else 0
            code = failure if code == USAGE else code
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except (Exception, KeyboardInterrupt) as error:
        return answer(error, failure)


def answer(error: BaseException, failure: int, whose: str = "kmetad itself") -> int:
    """The exit code for what a command has raised; says what a person should know of it.

    ``whose``: the code that is at fault where nobody foresaw this.
    """
    if isinstance(error, KmetadError):
        for line in str(error).splitlines():
            print(f"kmetad: {line}", file=sys.stderr)
        return failure
    if isinstance(error, KeyboardInterrupt):
        return 128 + _INT
    if isinstance(error, BrokenPipeError):  # whoever read has gone
        _drop_output()
        return 128 + _PIPE
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        _drop_output()
        print(f"kmetad: {error.filename or 'standard output'}: {error.strerror}", file=sys.stderr)
        return failure
    import traceback

    print(f"kmetad: this is a fault of {whose}; please report it:", file=sys.stderr)
    traceback.print_exception(error)
    return failure


def _drop_output() -> None:
    """Whatever wasn't written can't be; the interpreter flushes at its end, which must not raise again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(128 + number)
