"""The log: events with keys, by structlog, on standard error.

Only processes that kmetad owns configure it (``configure``); an app that embeds
``kmetad.watch`` keeps its own logging, since nothing below this module logs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, TextIO

_LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40, "critical": 50}


class _Deferred(ModuleType):
    """Stands for a module until somebody really uses it."""

    def __getattr__(self, name: str) -> Any:
        from importlib import import_module

        return getattr(import_module(self.__name__), name)


def _structlog() -> ModuleType:
    """structlog, without what it imports for uses that aren't ours.

    It imports asyncio (and with it ssl and subprocess) for its ``await log.ainfo()``
    methods, and rich for pretty tracebacks: 3.7 MB of private memory that every
    pod would pay for. The asyncio that structlog sees here is imported when it is
    first used; rich is left out.
    """
    if "structlog" not in sys.modules:
        kept = {name: sys.modules.get(name) for name in ("asyncio", "rich")}
        if kept["asyncio"] is None:
            sys.modules["asyncio"] = _Deferred("asyncio")
        sys.modules["rich"] = None  # type: ignore[assignment]  # makes `import rich` fail
        try:
            import structlog
        finally:
            for name, module in kept.items():
                if module is None:
                    del sys.modules[name]
                else:
                    sys.modules[name] = module
    import structlog

    return structlog


def get_logger(**bound: Any) -> Any:
    """A structlog logger, with these keys on every line of it."""
    return _structlog().get_logger(**bound)


def configure(format: str = "auto", level: str = "info", stream: TextIO | None = None) -> None:
    """Send the log of this process to a stream (standard error).

    ``format``: ``console`` for people, ``json`` one object a line, or ``auto``:
    console on a terminal, else JSON. ``level``: ``debug`` to ``critical``.
    """
    structlog = _structlog()
    stream = sys.stderr if stream is None else stream
    console = format == "console" or (format == "auto" and stream.isatty())
    processors: list[Callable[..., Any]] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if console else "iso", utc=not console),
    ]
    if console:
        colors = stream.isatty() and not os.environ.get("NO_COLOR")
        processors += [
            _escape_controls,
            structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=_traceback),
        ]
    else:
        # json.dumps writes ASCII: lone surrogates (bytes that were no UTF-8) survive as \\udcff.
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )


def _traceback(stream: TextIO, exc_info: Any) -> None:
    """Indented and escaped: an exception's text may hold what whoever may patch the Pod has written, too."""
    from traceback import format_exception

    for line in "".join(format_exception(*exc_info)).rstrip("\n").split("\n"):
        stream.write(f"\n  {_printable(line)}")


def _escape_controls(_logger: Any, _method: str, event: dict[str, Any]) -> dict[str, Any]:
    """Values come from whoever may patch the Pod: no newline or escape code of theirs reaches a terminal."""
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable() and key != "exception":
            event[key] = _printable(value)
    return event


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
