"""commands.md: every command, with its arguments, examples and exit codes.

Made from the parsers, and not from what ``--help`` prints, whose form differs from one Python to the next.
"""

from __future__ import annotations

import argparse
import io
import re
from contextlib import redirect_stdout, suppress
from importlib import import_module
from types import ModuleType
from typing import Any

from kmetad._cli.main import COMMANDS
from tests.reference.markdown import GENERATED, code, prose, table
from tests.reference.official import commands as brought

HEAD = f"""\
{GENERATED}

# Commands

`kmetad COMMAND --help` says what stands here. Results go to standard output; whatever else kmetad has to say goes to
standard error, on lines that begin with `kmetad: `. Where the path of kmetad's environment has blanks in it, the
command is `python -m kmetad`.

Beside the exit codes of each command: 130 after Ctrl-C, 143 after TERM, 141 where nobody reads the output any more.
A fault of kmetad's own, or a full disk, is 125 for `run` and for commands that plugins bring, 2 for all others.
"""


def page() -> str:
    """The text."""
    parts = [HEAD]
    for name in COMMANDS:
        parts += _command(f"kmetad {name}", import_module(f"kmetad._cli.{name}"), 2)
    for command in brought():
        distribution = command.origin.partition(" ")[0]
        module = command.load()
        parts += _command(f"kmetad {command.name}", module, 2)
        parts.append(f"It comes with [{distribution}](../../plugins/{distribution}).\n")
    return "\n".join(parts)


def _command(title: str, module: ModuleType, level: int) -> list[str]:
    """A command's section, and those of the commands below it."""
    parser = argparse.ArgumentParser(prog=title)
    module.arguments(parser)
    parts = [f"{'#' * level} {title}\n"]
    about, examples = _split(module.__doc__ or "")
    parts.append(f"{about}\n")
    if examples:
        parts.append("```text\n" + examples + "\n```\n")
    rows = []
    below: list[str] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            below += action.choices
        elif not isinstance(action, argparse._HelpAction) and action.help != argparse.SUPPRESS:
            rows.append((_usage(action), _help(action)))
    if rows:
        parts.append(table(("argument", "meaning"), rows))
    parts.append(f"Exit code: {_exit_codes(module)}\n")
    for name in below:
        child = import_module(f"{module.__name__}.{name.replace('-', '_')}")
        parts += _command(f"{title} {name}", _Below(child, parser, name), level + 1)
    return parts


class _Below(ModuleType):
    """A command below another one: its arguments are without those that the upper one has, and takes anywhere."""

    def __init__(self, module: ModuleType, upper: argparse.ArgumentParser, name: str) -> None:
        super().__init__(module.__name__, module.__doc__)
        self.run = module.run
        (commands,) = (a for a in upper._actions if isinstance(a, argparse._SubParsersAction))
        self._parser = commands.choices[name]
        self._known = {option for action in upper._actions for option in action.option_strings}

    def arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add what the command itself takes."""
        with suppress(SystemExit), redirect_stdout(io.StringIO()):
            self._parser.parse_known_args(["--help"])  # it takes its arguments in when it is first asked
        for action in self._parser._actions:
            if not self._known & set(action.option_strings):
                parser._add_action(action)


def _split(docstring: str) -> tuple[str, str]:
    """What a command's docstring says, and its examples."""
    about, _, examples = docstring.strip().partition("\nexamples:\n")
    lines = [line.removeprefix("  ") for line in examples.rstrip().splitlines()]
    return prose(about.strip()).replace("<", "&lt;"), "\n".join(lines)


def _usage(action: argparse.Action) -> str:
    """``-o, --output text|json``."""
    choices = "|".join(map(str, action.choices)) if action.choices else ""
    metavar: Any = action.metavar or choices or (action.dest.upper() if action.nargs != 0 else "")
    value = "" if action.nargs == 0 else str(metavar)
    if not action.option_strings:
        return code(value)
    optional = action.nargs == "?"
    value = f"[{value}]" if value and optional else value
    return code(", ".join(action.option_strings) + (f" {value}" if value else ""))


def _help(action: argparse.Action) -> str:
    told = (action.help or "").replace("%%", "%")
    told = re.sub(r"(default )(\S+?)(\)|; |, and|$)", r"\1`\2`\3", told)
    return re.sub(r"(?<![`\w])(--[a-z-]+|\$[A-Z_]+)(?!`)", r"`\1`", told)


def _exit_codes(module: Any) -> str:
    """What its ``run`` says of them."""
    told = " ".join((module.run.__doc__ or "").split())
    assert told.startswith("The exit code: "), (
        f"{module.__name__}.run: begin its docstring with 'The exit code: '"
    )
    return prose(told.removeprefix("The exit code: ").partition(" Raises")[0])
