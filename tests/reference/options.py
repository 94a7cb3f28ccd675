"""plugin-options.md: what ``[plugins.NAME]`` may hold for each plugin of this repository."""

from __future__ import annotations

from typing import Any

from msgspec import inspect

from tests.reference.markdown import GENERATED, inner, keys, prose
from tests.reference.official import distributions, options_types

HEAD = f"""\
{GENERATED}

# Options of the plugins

What the table of an instance, `[plugins.NAME]`, may hold beside
[the keys of every plugin](configuration.md#pluginsname), for each plugin of this repository. How they are meant to be
used is told by the plugins' own pages.
A plugin of somebody else's shows its options with `kmetad plugins list -v`.
"""


def page() -> str:
    """The text."""
    by = distributions()
    parts = [HEAD]
    for name, options in sorted(options_types().items()):
        parts.append(f"## {name}\n\nOf [{by[name]}](../../plugins/{by[name]}).\n")
        if options is None:
            parts.append("It has no options.\n")
            continue
        parts.append(keys(options))
        parts += [
            f"### {name}: a table {cls.__name__}\n\n{prose(cls.__doc__ or '').partition(chr(10))[0]}\n\n{keys(cls)}"
            for cls in _within(options)
        ]
    return "\n".join(parts)


def _within(options: type) -> list[type]:
    """The tables that the options hold, and those in them, each once."""
    found: list[type] = []
    waiting = [options]
    while waiting:
        info: Any = inspect.type_info(waiting.pop(0))
        for field in info.fields:
            for cls in inner(field.type):
                if cls not in found and cls is not options:
                    found.append(cls)
                    waiting.append(cls)
    return found
