"""What runs in the containers of Pods that nothing runs: a few commands, and what listens on ports."""

from __future__ import annotations

import io
import shlex
import tarfile
from collections.abc import Callable, Generator, Sequence

Files = dict[str, bytes]
Write = Callable[[bytes], None]
Program = Generator[None, bytes | None, int]
"""One that runs: it is sent what comes on its stdin, b"" at the end, and returns its exit code."""

PAGE = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 16\r\nConnection: close\r\n\r\n"
    b"hello from a Pod"
)
"""What is on port 80."""

NOT_FOUND = 127


def program(words: Sequence[str], files: Files, out: Write, err: Write) -> Program:
    """Run a command: ``echo``, ``cat``, ``true``, ``false``, ``exit``, ``sleep``, ``test -d``, ``tar``, ``sh -c``.

    ``cat`` and ``sleep`` go on until their stdin, or the client, ends. Any other isn't found.
    """
    match list(words):
        case ["echo", *rest]:
            out(" ".join(rest).encode() + b"\n")
        case ["cat"]:
            while data := (yield):
                out(data)
        case ["cat", path]:
            if path not in files:
                err(f"cat: {path}: No such file or directory\n".encode())
                return 1
            out(files[path])
        case ["true"]:
            pass
        case ["false"]:
            return 1
        case ["exit", code]:
            return int(code)
        case ["sleep", *_]:
            while True:
                yield
        case ["test", "-d", path]:
            return 0 if any(each.startswith(f"{path.rstrip('/')}/") for each in files) else 1
        case ["tar", flags, "-", *rest] if "x" in flags:
            packed = b""
            while data := (yield):
                packed += data
            _unpack(packed, rest[1] if rest[:1] == ["-C"] else "/", files)
        case ["tar", flags, "-", path] if "c" in flags:
            chosen = [each for each in files if each == path or each.startswith(f"{path.rstrip('/')}/")]
            if not chosen:
                err(f"tar: {path}: Cannot stat: No such file or directory\n".encode())
                return 2
            out(_packed(chosen, files))
        case ["sh", "-c", line]:
            return (yield from program(shlex.split(line), files, out, err))
        case _:
            err(f"{words[0] if words else ''}: not found\n".encode())
            return NOT_FOUND
    return 0


def service(page: bytes, out: Write) -> Program:
    """Listen on a port, for one connection: an echo, or a page for the first request's head."""
    head = b""
    while data := (yield):
        head += data
        if not page:
            out(data)
        elif b"\r\n\r\n" in head:
            out(page)
            break
    return 0


class Process:
    """A program that runs, once it is begun. Until then its input waits."""

    def __init__(self, running: Program) -> None:
        self.code: int | None = None  # once it has ended
        self._program = running
        self._early: list[bytes] | None = []

    def begin(self) -> None:
        """Let it run, if it doesn't yet."""
        if self._early is not None:
            early, self._early = self._early, None
            for data in (None, *early):
                self._go_on(data)

    def feed(self, data: bytes) -> None:
        """Give it input; b"" is the end of that."""
        if self._early is not None:
            self._early.append(data)
        else:
            self._go_on(data)

    def _go_on(self, data: bytes | None) -> None:
        if self.code is None:
            try:
                self._program.send(data)
            except StopIteration as ended:
                self.code = ended.value


def _unpack(packed: bytes, directory: str, files: Files) -> None:
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        for member in archive:
            if (content := archive.extractfile(member)) is not None:
                files[f"{directory.rstrip('/')}/{member.name.lstrip('/')}"] = content.read()


def _packed(paths: Sequence[str], files: Files) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for path in paths:
            member = tarfile.TarInfo(path.lstrip("/"))
            member.size = len(files[path])
            archive.addfile(member, io.BytesIO(files[path]))
    return made.getvalue()
