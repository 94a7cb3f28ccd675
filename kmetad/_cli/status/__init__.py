"""Ask the running daemon how it is: its sources, its plugins, the app, and why it isn't ready.

The answer comes over the socket kmetad.sock, in [state] dir or else in
$RUNTIME_DIRECTORY, $XDG_RUNTIME_DIR or /run/kmetad, from the first where one is.
Exits with 0 if the daemon is ready, 1 if it isn't, 2 if none answers.

examples:
  kmetad status
  kmetad status -o json
  kmetad status -c kmetad.toml
"""

from __future__ import annotations

import os
import socket
import stat
import sys
import time

from kmetad._daemon.places import FALLBACK, NAME, Place, places, reach
from kmetad.errors import KmetadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

PATIENCE = 5.0
"""Seconds that the daemon has for its whole answer."""

LARGEST = 64 << 20
"""Bytes of an answer; whoever says more isn't kmetad."""

REMEDY = (
    "if `kmetad run` is running, it found no directory for its socket, or uses another configuration: "
    f"set [state] dir, or mount an emptyDir at {FALLBACK}"
)


class NoAnswer(KmetadError):
    """No daemon tells how it is; says why, and what to do."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """What the command takes."""
    from kmetad._cli import choose

    parser.add_argument(
        "-o",
        "--output",
        choices=("text", "json"),
        default="text",
        help="json holds all that is known, in the form that docs/status.md describes",
    )
    choose.configuration(parser)


def run(args: argparse.Namespace) -> int:
    """The exit code: 0 ready, 1 not ready, 2 where none answers. Raises NoAnswer."""
    from kmetad._cli.status import form
    from kmetad._config.finding import find

    path, answer = _answer(find(args.config, os.environ))
    if not answer:
        raise NoAnswer(f"{path}: no answer: the daemon is just ending, or its log tells why (status.failed)")
    document = form.read(answer)
    if document is None:
        raise NoAnswer(f"{path}: what answers there isn't this version of kmetad, or it was cut off")
    if args.output == "json":
        from json import dumps

        print(dumps(document, indent=2))
    else:
        from kmetad._cli import text
        from kmetad._cli.status.lines import lines

        print("\n".join(lines(document, time.time(), text.colours(sys.stdout))))
    return 0 if document["ready"] else 1


def _answer(file: str | None) -> tuple[str, bytes]:
    """The path of the first socket at which something listens, and what it says."""
    state_dir, unknown = _state_dir(file)
    looked = [unknown] if unknown else []
    denied = False
    for place in places(state_dir, os.environ):
        path = f"{place.directory}/{NAME}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            deadline = time.monotonic() + PATIENCE
            try:
                _connect(connection, place.directory, deadline)
            except TimeoutError:
                raise NoAnswer(_hangs(connection, path)) from None
            except OSError as error:
                denied = denied or isinstance(error, PermissionError)
                looked.append(f"{place}: {_why(place, error)}")
                continue
            try:
                return path, _read(connection, deadline)
            except TimeoutError:
                raise NoAnswer(_hangs(connection, path)) from None
            except OSError as error:
                raise NoAnswer(f"{path}: it ended while it was asked ({error.strerror}); ask again") from None
    remedy = [] if denied else [REMEDY]
    raise NoAnswer("\n  ".join([f"no daemon answers; looked for {NAME} in", *looked, *remedy]))


def _state_dir(file: str | None) -> tuple[str | None, str]:
    """``[state] dir``, and why it can't be known.

    Read without the checks of ``kmetad._config``, which take longer than all else here.
    """
    if file is None:
        return None, ""
    import tomllib

    try:
        with open(file, "rb") as toml:
            state = tomllib.load(toml).get("state")
    except OSError as error:
        return None, f"[state] dir: unknown, for {file} can't be read: {error.strerror}"
    except (ValueError, RecursionError):
        return None, f"[state] dir: unknown, for {file} isn't TOML now; see `kmetad check`"
    directory = state.get("dir") if isinstance(state, dict) else None
    return directory if isinstance(directory, str) else None, ""


def _connect(connection: socket.socket, directory: str, deadline: float) -> None:
    """Raises OSError where nothing listens, TimeoutError where too many wait already."""
    if not stat.S_ISSOCK(os.lstat(f"{directory}/{NAME}").st_mode):
        raise OSError(0, "it is no socket, so it isn't kmetad's; remove it")
    connection.setblocking(False)
    while True:
        try:
            reach(directory, connection.connect)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TimeoutError from None
            time.sleep(0.05)
        else:
            return


def _read(connection: socket.socket, deadline: float) -> bytes:
    """All that it says until it closes. Raises OSError, TimeoutError after the deadline."""
    said = bytearray()
    while len(said) <= LARGEST:
        connection.settimeout(max(0.001, deadline - time.monotonic()))
        more = connection.recv(1 << 16)
        if not more:
            break
        said += more
    return bytes(said)


def _hangs(connection: socket.socket, path: str) -> str:
    from struct import unpack

    who = ""
    try:
        pid, _, _ = unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        who = f" (process {pid})" if pid > 0 else ""
    except OSError:
        pass  # it isn't even connected
    return f"{path}: who listens there{who} has not answered within {PATIENCE:g} s: it hangs, or is stopped"


def _why(place: Place, error: OSError) -> str:
    """Why nothing answers at a place, in words."""
    directory = place.directory
    if isinstance(error, ConnectionRefusedError):
        return "nobody listens any more: its daemon was killed, and starts anew if a supervisor is there"
    if isinstance(error, PermissionError):
        owner = _owner(f"{directory}/{NAME}", directory)
        return f"permission denied: it belongs to user {owner}, and you are {os.geteuid()}; run this as that user"
    if isinstance(error, FileNotFoundError):
        if os.path.isdir(directory):
            return "none there" if os.access(directory, os.W_OK) else "none there, and it can't be written to"
        parent = os.path.dirname(directory)
        made = not place.named_by and os.access(parent, os.W_OK)
        return "no such directory" if place.named_by or made else "no such directory, and it can't be made"
    return error.strerror or str(error)


def _owner(*paths: str) -> str:
    """Who has the first of these that can be looked at."""
    for path in paths:
        try:
            return str(os.lstat(path).st_uid)
        except OSError:
            pass
    return "unknown"
