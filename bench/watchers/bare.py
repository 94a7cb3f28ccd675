"""The yardstick: inotify by ctypes with the narrowest mask, a blocking read, a consistent read."""

from __future__ import annotations

import ctypes
import os
import struct
import sys

from bench.reading import marker
from bench.watchers import Report

IN_MOVED_TO, IN_DELETE_SELF, IN_MOVE_SELF, IN_ONLYDIR = 0x80, 0x400, 0x800, 0x1000000  # inotify(7)
HEADER = struct.Struct("iIII")


def main(fifo: str, *volumes: str) -> None:
    """Never returns."""
    report = Report(fifo)
    libc = ctypes.CDLL(None, use_errno=True)
    inotify = libc.inotify_init1(os.O_CLOEXEC)
    paths = {}
    for path in volumes:
        mask = IN_MOVED_TO | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR
        paths[libc.inotify_add_watch(inotify, os.fsencode(path), mask)] = path
    while True:
        events = os.read(inotify, 65536)
        at = 0
        touched = set()
        while at < len(events):
            watch, _mask, _cookie, length = HEADER.unpack_from(events, at)
            touched.add(watch)
            at += HEADER.size + length
        for watch in touched:
            report(marker(paths[watch]))


if __name__ == "__main__":
    main(*sys.argv[1:])
