"""The daemon as a process of its own: ``python -m kmetad._daemon``, started by the supervisor of an app."""

from __future__ import annotations

import os
import sys

from kmetad._daemon.arguments import parse

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_SIGKILL = 9


def main() -> int:
    """Run it to its end; answers its exit code."""
    arguments = parse(sys.argv[1:])
    for descriptor in (arguments.link, arguments.memory):
        if descriptor is not None:
            os.set_inheritable(descriptor, False)  # what a plugin starts doesn't get them
    if arguments.link is not None:
        _end_with_parent()
    _have_streams()
    from kmetad import _daemon
    from kmetad._config import load

    return _daemon.run(
        load(arguments.config or None),
        environ=os.environ,
        strict=arguments.strict,
        verbose=arguments.verbose,
        link=arguments.link,
        memory=arguments.memory,
        niceness=arguments.niceness,
    )


def _end_with_parent() -> None:
    """Nothing outlives the supervisor (PR_SET_PDEATHSIG, prctl(2)).

    If it has ended already, the link says so as soon as somebody reads it.
    """
    try:
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, _SIGKILL, 0, 0, 0)
    except (ImportError, OSError, AttributeError):
        pass  # no Linux: the link alone has to do


def _have_streams() -> None:
    """Whoever closed standard error wants no log; but no other file may get its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            descriptor = os.open(os.devnull, os.O_RDWR)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            mode = "w" if number else "r"
            setattr(sys, name, open(number, mode, errors="backslashreplace"))  # noqa: SIM115  # for life


if __name__ == "__main__":
    sys.exit(main())
