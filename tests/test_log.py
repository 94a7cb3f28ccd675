"""kmetad._log: events on standard error, without what structlog would import."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator

import pytest
import structlog

from kmetad import _log


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def test_json() -> None:
    """Without a terminal: one object a line, bytes that are no UTF-8 as escaped surrogates."""
    stream = io.StringIO()
    _log.configure(stream=stream)
    _log.get_logger(plugin="nginx").info("pod.changed", key="\udcff\n")
    line = json.loads(stream.getvalue())
    assert (line["event"], line["plugin"], line["key"], line["level"]) == (
        "pod.changed",
        "nginx",
        "\udcff\n",
        "info",
    )
    assert line["timestamp"].endswith("Z")
    assert stream.getvalue().count("\n") == 1


def test_levels() -> None:
    """What is below the level isn't written."""
    stream = io.StringIO()
    _log.configure(level="warning", stream=stream)
    _log.get_logger().info("no")
    _log.get_logger().warning("yes")
    assert json.loads(stream.getvalue())["event"] == "yes"


def test_console_obeys_no_value() -> None:
    """A value that holds a newline or an escape code forges no line."""
    stream = io.StringIO()
    _log.configure("console", stream=stream)
    _log.get_logger().info("pod.changed", value="a\n\x1b[31mforged é")
    assert "\x1b" not in stream.getvalue()
    assert "forged é" in stream.getvalue()
    assert stream.getvalue().count("\n") == 1


def test_console_obeys_no_exception() -> None:
    """Neither does the text of one that a hook raised: what it says is indented, and escaped."""
    stream = io.StringIO()
    _log.configure("console", stream=stream)
    try:
        raise ValueError("no level: \x1b[2J\u2028\nforged é")
    except ValueError:
        _log.get_logger().exception("plugin.raised")
    first, *others = stream.getvalue().splitlines()
    assert "plugin.raised" in first
    assert others[-2:] == ["  ValueError: no level: \\x1b[2J\\u2028", "  forged é"]
    assert all(line.startswith("  ") for line in others)


@pytest.mark.parametrize("format_", ["console", "json"])
def test_exceptions(format_: str) -> None:
    """A traceback is there, in either form."""
    stream = io.StringIO()
    _log.configure(format_, stream=stream)
    try:
        raise LookupError("nothing there")
    except LookupError:
        _log.get_logger().exception("plugin.raised")
    assert "LookupError: nothing there" in stream.getvalue()


def test_what_is_not_imported() -> None:
    """asyncio, ssl and rich stay away, and asyncio is there all the same for whoever wants it."""
    code = (
        "import sys\n"
        "from kmetad import _log\n"
        "_log.configure(); _log.get_logger().info('x')\n"
        "print(sorted({'asyncio', 'ssl', 'rich', 'subprocess'} & set(sys.modules)))\n"
        "import structlog\n"
        "async def main(): await structlog.get_logger().ainfo('from asyncio')\n"
        "import asyncio\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert "from asyncio" in done.stderr
