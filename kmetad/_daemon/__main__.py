"""The daemon as a process of its own: ``python -m kmetad._daemon``, started by the supervisor of an app."""

from __future__ import annotations

import os
import signal
import sys

from kmetad._daemon.arguments import Arguments, parse
from kmetad._daemon.signals import left_in

_ENDING = {signal.SIGTERM, signal.SIGINT}
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_SIGKILL = 9


def main() -> int:
    """Run it to its end; answers its exit code."""
    arguments = parse(sys.argv[1:])
    _have_signals(arguments)
    for descriptor in (arguments.link, arguments.memory):
        if descriptor is not None:
            os.set_inheritable(descriptor, False)  # what a plugin starts doesn't get them
    if arguments.link is not None or arguments.check:
        _end_with_parent()
    from kmetad._config import load
    from kmetad._daemon.streams import have_streams

    have_streams()
    loaded = load(arguments.config or None, _taken(arguments.content))
    if arguments.check:
        from kmetad._daemon.checking import check

        return check(loaded, wrapped=arguments.wrapped)
    from kmetad import _daemon

    return _daemon.run(
        loaded,
        environ=os.environ,
        strict=arguments.strict,
        verbose=arguments.verbose,
        link=arguments.link,
        memory=arguments.memory,
        niceness=arguments.niceness,
    )


def _taken(descriptor: int | None) -> bytes | None:
    """All that is in a file, which is closed."""
    if descriptor is None:
        return None
    with open(descriptor, "rb") as file:
        file.seek(0)  # whoever wrote it, or read it before, shares the position
        return file.read()


def _have_signals(arguments: Arguments) -> None:
    """Until the daemon listens: HUP doesn't end what is just being read, and TERM ends it, also as process 1.

    That has no default action; and an exception might be swallowed by whatever is imported just then.
    """
    signal.signal(signal.SIGHUP, lambda _number, _frame: None)
    if arguments.link is None:
        for number in _ENDING:
            signal.signal(number, lambda came, _frame: os._exit(128 + came))
    if arguments.signals is not None:
        for came in left_in(arguments.signals) & _ENDING:
            sys.exit(128 + came)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGHUP, *_ENDING))


def _end_with_parent() -> None:
    """Nothing outlives the supervisor (PR_SET_PDEATHSIG, prctl(2)).

    If it has ended already, the link says so as soon as somebody reads it.
    """
    try:
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        pass  # no Linux: the link alone has to do


if __name__ == "__main__":
    sys.exit(main())
