"""Watch the Pod's metadata and deliver every change to the plugins that the TOML names.

With a command, be its entrypoint: start it at once, forward signals, reap, exit as it
does. Standard input and output are the command's; what kmetad says goes to standard
error. Without one, run until TERM or INT; HUP reads the configuration again.

examples:
  kmetad run -- gunicorn app:app
  kmetad run -c kmetad.toml
  kmetad run --rewrite TERM:QUIT -- nginx -g "daemon off;"
  kmetad run --once -- env
"""

from __future__ import annotations

import os

from kmetad.errors import OWN_FAILURE, ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from typing import Any

_FLAGS = {"--group": "group", "--once": "once", "--strict": "strict", "--verbose": "verbose", "-v": "verbose"}
_VALUES = {"--config": "config", "-c": "config", "--rewrite": "rewrite"}


class Options:
    """What the command line asks for."""

    config: str | None = None
    group: bool = False
    once: bool = False
    strict: bool = False
    verbose: bool = False
    rewrite: tuple[str, ...] = ()
    wrapped: list[str] | None = None
    """The app's command; None: not on the command line."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    from kmetad._cli import choose

    parser.usage = "%(prog)s [OPTIONS] [-- COMMAND ARG...]"
    parser.add_argument(
        "--once",
        action="store_true",
        help="take one look, fill the environment ([run] env), and become the command",
    )
    parser.add_argument(
        "--group", action="store_true", help="send signals to the command's whole process group"
    )
    parser.add_argument(
        "--rewrite",
        action="append",
        default=[],
        metavar="A:B",
        help="where signal A comes, send B: names or numbers, 0 sends nothing; repeatable",
    )
    parser.add_argument(
        "--strict",
        action="store_true",
        help="end with 125 on any fault of the configuration, and start nothing",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="log more")
    choose.configuration(parser)


def split(argv: list[str]) -> tuple[list[str], list[str] | None]:
    """kmetad's own options, and the app's command: all from the first word on that is none, or behind ``--``."""
    at = 0
    while at < len(argv):
        word = argv[at]
        if word == "--":
            return argv[:at], argv[at + 1 :]
        if not word.startswith("-") or word == "-":
            return argv[:at], argv[at:]
        at += 2 if word in _VALUES else 1
    return argv, None


def start(argv: list[str]) -> int | None:
    """Run it, if the options are plain ones; None if argparse has to have a look at them.

    argparse takes half as long to import as the interpreter to start, and the app waits for it.
    """
    own, wrapped = split(argv)
    options = Options()
    options.wrapped = wrapped
    words = iter(own)
    for word in words:
        if word in _FLAGS:
            setattr(options, _FLAGS[word], True)
        elif word in _VALUES:
            value = next(words, None)
            if value is None:
                return None
            if word == "--rewrite":
                options.rewrite += (value,)
            else:
                options.config = value
        else:
            return None
    try:
        code = _wrap(options)
    except (Exception, KeyboardInterrupt) as error:
        from kmetad._cli.guard import answer

        return answer(error, OWN_FAILURE)
    if code is not None:
        return code
    from kmetad._cli.guard import guarded

    return guarded(lambda: _watch_alone(options), OWN_FAILURE)


def run(args: Options | argparse.Namespace) -> int:
    """The exit code: the app's; 125, 126 or 127 if it never ran; without one 0, or 125.

    Raises ConfigError for wrong usage.
    """
    code = _wrap(args)
    return _watch_alone(args) if code is None else code


def _wrap(args: Options | argparse.Namespace) -> int | None:
    """Run the app, and answer the exit code; None if neither the command line nor the TOML has a command."""
    if args.wrapped is not None and not args.wrapped:
        raise ConfigError(("there is no command after `--`; without a command, leave `--` out",))
    overrides: dict[str, Any] = {}
    if args.wrapped:
        overrides["command"] = tuple(args.wrapped)
    if args.group:
        overrides["signal_scope"] = "group"
    if args.rewrite:
        overrides["rewrite_signals"] = _rewriting(args.rewrite)
    file = _file(args)
    if args.once:
        return _once(args, file)
    code = None
    if args.wrapped or file is not None:
        from kmetad import _supervisor

        code = _supervisor.run(overrides, file=file, strict=args.strict, verbose=args.verbose)
    if code is None and overrides:
        raise ConfigError(("--group and --rewrite are for a command's signals, and there is none",))
    return code


def _watch_alone(args: Options | argparse.Namespace) -> int:
    from kmetad import _daemon
    from kmetad._config import load
    from kmetad._daemon.streams import have_streams

    have_streams()
    return _daemon.run(load(_file(args)), environ=os.environ, strict=args.strict, verbose=args.verbose)


def _file(args: Options | argparse.Namespace) -> str | None:
    from kmetad._config.finding import find  # without the machinery that imports the rest lazily

    return find(args.config, os.environ)


def _once(args: Options | argparse.Namespace, file: str | None) -> int:
    from kmetad._cli import once
    from kmetad._config import load

    if args.group or args.rewrite:
        raise ConfigError(
            ("with --once nobody is left to forward signals: --group and --rewrite mean nothing",)
        )
    loaded = load(file)
    command = args.wrapped or list(loaded.config.run.command)
    if not command:
        raise ConfigError(("--once needs a command to become: kmetad run --once -- COMMAND",))
    code: int = once.run(loaded, command, os.environ, strict=args.strict)
    return code


def _rewriting(options: list[str] | tuple[str, ...]) -> dict[int, int]:
    """``15:3``, ``TERM:QUIT``, ``HUP:0``."""
    from kmetad._config import signal_number

    rewriting = {}
    for option in options:
        came, _, sent = option.partition(":")
        try:
            if not sent:
                raise ValueError("it is written A:B, such as TERM:QUIT, or TERM:0 to send nothing")
            number = signal_number(came)
            if number in (9, 19):  # KILL and STOP
                raise ValueError("nobody can catch it")
            rewriting[number] = 0 if sent == "0" else signal_number(sent)
        except ValueError as error:
            raise ConfigError((f"--rewrite {option}: {error}",)) from None
    return rewriting
