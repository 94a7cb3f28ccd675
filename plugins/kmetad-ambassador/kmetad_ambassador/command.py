"""Answer for the API server at localhost, so that whoever asks there needs no credentials.

It takes the options of kubectl proxy, and is safer: it only reads unless told otherwise, and nobody gets exec,
attach, port-forward or Secrets without a rule that names them. No web page gets anything.
It serves no files (--www). The exit code is 0 after TERM or INT, else 125.

examples:
  kmetad proxy
  curl localhost:8001/api/v1/namespaces/default/pods
  kubectl --server http://localhost:8001 get pods

  kmetad proxy --port 0
  kmetad proxy --unix-socket /run/api.sock
  kmetad proxy --allow get,list,watch:pods,pods/log:lab --allow patch:deployments.apps:lab:web
  kmetad proxy --allow-write --allow create,get:pods/exec
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn, get_args

from msgspec import structs

from kmetad import commands, listening
from kmetad.errors import KmetadError
from kmetad_ambassador import advice
from kmetad_ambassador.options import Options, OptionsError

if TYPE_CHECKING:
    from asyncio import Future

    from kmetad.api import Server

SUMMARY = "answer for the API server at localhost, by rules and without credentials"

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_SHORT = {"port": "-p", "unix_socket": "-u"}
_ALLOWED = """\
Without --allow: reading everything but Secrets. A rule is as a Role has it; a resource is pods, pods/log or
deployments.apps. Secrets, exec, attach, portforward, proxy and serviceaccounts/token need a rule that names them,
as get:secrets or create,get:pods/exec."""
_FILTER = """\
Beside the rules. Regular expressions with commas between them; one of them has to match, anywhere in it."""
_GROUPS: dict[tuple[str, str], dict[str, tuple[str, str]]] = {
    ("where it listens", ""): {
        "port": (
            "PORT",
            "default {default}; 0 takes any that is free, and the line on standard output says which",
        ),
        "address": ("IP", "default {default}; with another than loopback set --token-file"),
        "unix_socket": ("PATH", "listen there instead, for this user alone"),
        "keepalive": (
            "DURATION",
            "probe a silent TCP connection after this long (default {default}); 0: never",
        ),
        "api_prefix": ("PREFIX", "before all paths, as /custom/, and taken away (default {default})"),
    },
    ("what is allowed", _ALLOWED): {
        "allow": ("RULE", "VERBS:RESOURCES[:NAMESPACES[:NAMES]], each a list with commas, or *; repeatable"),
        "allow_write": ("", "allow whatever changes something, too; --allow then adds to it"),
        "token_file": ("FILE", "clients have to send what it holds as a bearer token"),
    },
    ("kubectl proxy's filter", _FILTER): {
        "accept_hosts": ("REGEXES", "of the Host, without its port (default {default})"),
        "accept_paths": ("REGEXES", "of the path (default {default})"),
        "reject_paths": (
            "REGEXES",
            "of the path, whatever accepts it (default none: exec and attach need a rule anyway)",
        ),
        "reject_methods": ("REGEXES", "as ^(POST|PUT|PATCH|DELETE)$ (default none)"),
        "disable_filter": ("", "check no Host, no Origin, none of these, and no rule: dangerous"),
    },
    ("limits", ""): {
        "max_requests": ("N", "at once (default {default}); twice as many connections"),
        "max_head": ("SIZE", "of a request's first line and headers (default {default})"),
        "max_body": ("SIZE", "of a request's body (default {default})"),
        "idle_timeout": (
            "DURATION",
            "of who sends nothing, or takes nothing of an answer (default {default}); watches may be silent",
        ),
        "drain_timeout": ("DURATION", "at the end, what is under way has so long (default {default})"),
    },
}
"""By title and description, the options with what stands for their value, and their help."""
_OF_SERVER = ("append_server_path", "", "put the path of the server's URL before all others")
_OF_LOG = (
    "log_requests",
    "",
    "a line for each request, for those that are refused, or for none (default {default})",
)


class ProxyError(KmetadError):
    """The proxy can't do its work; the message says why."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes: every field of Options by its name, and who the server is."""
    parser.usage = "%(prog)s [OPTIONS]"
    for (title, described), options in _GROUPS.items():
        group = parser.add_argument_group(title, described or None)
        for name, (metavar, told) in options.items():
            _add(group, name, metavar, told)
    _add(commands.server_arguments(parser), *_OF_SERVER)
    _add(commands.log_arguments(parser), *_OF_LOG)
    for names in (("-w", "--www"), ("-P", "--www-prefix")):
        parser.add_argument(*names, action=_NoFiles, help=argparse.SUPPRESS)


def run(args: argparse.Namespace) -> int:
    """The exit code: 0 after TERM or INT, 125 where it can't start. Raises KmetadError."""
    import asyncio

    options = options_of(args)
    server = commands.server(args)
    for sentence in (*advice.of_options(options, flag), *advice.of_server(server, options, flag)):
        print(f"kmetad: warning: {sentence}", file=sys.stderr)
    asyncio.run(_serve(server, options, commands.log(args)))
    return 0


def flag(name: str) -> str:
    """A field of Options as the command line has it."""
    return f"--{name.replace('_', '-')}"


def options_of(args: argparse.Namespace) -> Options:
    """What the command line says. Raises ProxyError."""
    given = {name: getattr(args, name) for name in Options.__struct_fields__ if hasattr(args, name)}
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    try:
        return Options(**given)
    except OptionsError as error:
        raise ProxyError(error.told(flag)) from None


async def _serve(server: Server, options: Options, log: Any) -> None:
    """Until a signal, and then for as long as what is under way may take, or to the next signal."""
    from kmetad_ambassador.proxy import Proxy

    proxy = Proxy(server, options, log)
    try:
        where = await proxy.start()
    except OSError as error:
        place = options.address, options.port, options.unix_socket
        raise ProxyError(listening.refused(error, *place, shown=flag)) from error
    _raise_limit()
    told = _first_signal()
    try:
        # As kubectl proxy says it: scripts wait for that line.
        print(f"Starting to serve on {where.removeprefix('unix:')}", flush=True)
        log.info("ambassador.stopping", signal=(await told).name)
    finally:
        await proxy.stop(options.drain_timeout.total_seconds())


def _raise_limit() -> None:
    """A client and its connection to the server take two descriptors. As Go does at its start, to what is allowed."""
    import resource

    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except (OSError, ValueError):
        pass  # then it goes with what there is


def _first_signal() -> Future[signal.Signals]:
    """The first one that tells it to stop; a second one ends the process at once, whatever it waits for."""
    import asyncio

    loop = asyncio.get_running_loop()
    told: asyncio.Future[signal.Signals] = loop.create_future()

    def came(number: signal.Signals) -> None:
        if told.done():  # both came before this was called
            os._exit(0)
        # To remove a handler sets the default for a moment, which nobody may meet.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        for each in _SIGNALS:
            loop.remove_signal_handler(each)
            signal.signal(each, lambda *_: os._exit(0))
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        told.set_result(number)

    for number in _SIGNALS:
        loop.add_signal_handler(number, came, number)
    return told


def _add(group: Any, name: str, metavar: str, told: str) -> None:
    """An option of the type that its field of Options has."""
    (field,) = (field for field in structs.fields(Options) if field.name == name)
    default = field.default
    how: dict[str, Any] = {"metavar": metavar, "type": str}
    if name == "allow":
        how["action"] = "append"
    elif name == "log_requests":
        how = {"choices": get_args(field.type)}
    elif isinstance(default, bool):
        how = {"metavar": "true|false", "nargs": "?", "const": True, "type": _truth}
    elif isinstance(default, tuple):
        how["type"] = _expressions
    elif isinstance(default, timedelta):
        how["type"] = commands.duration
    elif isinstance(default, int):
        how["type"] = int
    names = [_SHORT[name]] if name in _SHORT else []
    told = told.format(default=_shown(default)).replace("%", "%%")
    group.add_argument(*names, flag(name), dest=name, default=argparse.SUPPRESS, help=told, **how)


def _shown(default: object) -> str:
    """A default as somebody would write it."""
    if isinstance(default, tuple):
        return ",".join(default)
    if isinstance(default, timedelta):
        return f"{default.total_seconds():g}s"
    return str(default)


def _expressions(text: str) -> tuple[str, ...]:
    if torn := re.search(r"\{[0-9]*,[0-9]*\}", text):
        raise argparse.ArgumentTypeError(f"a comma ends an expression here, so {torn[0]} can't be in one")
    return tuple(text.split(","))


def _truth(text: str) -> bool:
    """As Go reads it (strconv.ParseBool), and so kubectl."""
    if text in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    if text in ("0", "f", "F", "FALSE", "false", "False"):
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


class _NoFiles(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> NoReturn:
        parser.error(
            f"{option_string}: this proxy serves no files; use a web server, or kubectl proxy, for them"
        )
