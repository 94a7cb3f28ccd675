"""Reads the configuration before the app starts, in a process that ends with that.

What it takes to read TOML, and to say what is wrong in it, would stay in the
supervisor's memory for ever. A fork shares all that is imported already.
"""

from __future__ import annotations

import marshal
import os

from kmetad._supervisor import signals
from kmetad._supervisor.messages import say
from kmetad._supervisor.settings import TAGGER, Settings, plain
from kmetad.errors import OWN_FAILURE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

_AT_ONCE = 1 << 16


class Refused(Exception):
    """Nothing is to be started, for reasons that have been told. ``code`` is the exit code."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def read(file: str, strict: bool, overrides: Mapping[str, Any]) -> Settings:
    """``[run]`` of a TOML, in which ``overrides`` win. All signals are blocked.

    Raises Refused if it is faulty (``strict``: if anything else is), or TERM came first.
    """
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os._exit(_report(file, strict, theirs))
    os.close(theirs)
    signals.announce(ours)
    data = b""
    ended = False
    while not ended:
        info = signals.wait(None)
        assert info is not None
        if info.si_signo in (signals.TERM, signals.INT, signals.QUIT):
            os.kill(pid, signals.KILL)
            os.waitpid(pid, 0)
            say(f"{signals.name(info.si_signo)} came before the configuration was read")
            raise Refused(128 + info.si_signo)
        more, ended = _drain(ours)
        data += more
    os.close(ours)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        say(f"reading {file} was ended by {signals.name(-code)}; this is a fault of kmetad, please report it")
    if code:
        raise Refused(OWN_FAILURE)
    return Settings(marshal.loads(data), overrides)


def _drain(descriptor: int) -> tuple[bytes, bool]:
    """What there is to read now, and whether that is all."""
    data = b""
    while True:
        try:
            more = os.read(descriptor, _AT_ONCE)
        except BlockingIOError:
            return data, False
        if not more:
            return data, True
        data += more


def _report(file: str, strict: bool, to: int) -> int:
    """The reading process: writes the settings, or says what is wrong. Answers its exit code."""
    try:
        tables = _tables(file)
        values: dict[str, Any] = {"output": "unless-terminal"} if _names_tagger(tables or {}) else {}
        # A [run], a [daemon], or a fault of the file as a whole: the app waits for no other check.
        if strict or tables is None or "run" in tables or "daemon" in tables:
            from kmetad._config import load

            loaded = load(file)
            if loaded.problems and (loaded.fatal or strict):
                say("\n".join(line for problem in loaded.problems for line in str(problem).splitlines()))
                return OWN_FAILURE
            values = plain(loaded.config)
        data = marshal.dumps(values)
        while data:
            data = data[os.write(to, data) :]
    except BaseException:
        import traceback

        say(f"reading {file} failed; this is a fault of kmetad, please report it:\n{traceback.format_exc()}")
        return OWN_FAILURE
    return 0


def _tables(file: str) -> dict[str, Any] | None:
    """What the file holds, unchecked; None where it can't be read."""
    import tomllib

    try:
        with open(file, "rb") as toml:
            return tomllib.load(toml)
    except (OSError, ValueError, RecursionError):  # no file, no UTF-8, no TOML
        return None


def _names_tagger(tables: dict[str, Any]) -> bool:
    """Whether a plugin is there that tags lines (``[run] output = "auto"``)."""
    plugins = tables.get("plugins")
    for name, table in plugins.items() if isinstance(plugins, dict) else ():
        if (
            isinstance(table, dict)
            and table.get("use", name) == TAGGER
            and not {"module", "path"} & table.keys()
        ):
            return True
    return False
