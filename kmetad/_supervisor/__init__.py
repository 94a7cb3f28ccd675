"""The supervisor of ``kmetad run -- app``: what an init does, and no more.

It starts the app first, before anything else is imported, and then the daemon as
a process of its own. So nothing that watches, no plugin and no fault of either can
cost the app more than a restart of the daemon.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


def run(overrides: Mapping[str, Any], *, file: str | None, strict: bool, verbose: bool) -> int | None:
    """Run the app until it is done. Answers the exit code; None if there is no command, so that nothing was done.

    ``overrides`` are values of ``[run]`` that the command line gave: ``command``,
    ``signal_scope``, ``rewrite_signals``. ``file`` is the configuration, if there is one.
    """
    from kmetad._supervisor import signals

    mask = signals.block()
    _occupy_closed_descriptors()
    if file is None:
        from kmetad._supervisor.settings import Settings

        settings = Settings({}, overrides)
    else:
        from kmetad._supervisor.reading import Refused, read

        try:
            settings = read(file, strict, overrides)
        except Refused as refused:
            return refused.code
    if not settings.command:
        signals.unblock(mask)
        return None

    from kmetad._supervisor.app import App
    from kmetad._supervisor.command import CommandError, environment
    from kmetad._supervisor.processes import adopt_orphans

    adopt_orphans()
    environ = environment()
    app = App(mask)
    if settings.start == "now" and not strict:
        try:
            app.start(settings, environ)
        except CommandError as error:
            from kmetad._supervisor.messages import say

            say(str(error))
            return error.code

    from kmetad._supervisor.supervisor import Supervisor

    options = ["--config", file or ""] + ["--strict"] * strict + ["--verbose"] * verbose
    return Supervisor(app, settings, overrides, options, environ, strict=strict).run()


def _occupy_closed_descriptors() -> None:
    """Where standard input, output or error is closed, nothing of kmetad's own may take its number.

    The app finds it closed all the same: what is opened here isn't inherited.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
