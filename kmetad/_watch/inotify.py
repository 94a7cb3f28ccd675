"""Hints by inotify: one descriptor for all directories, and no thread of its own.

``InotifyHints`` is watchdog's ``EventDispatcher`` with the three methods that are
documented for overriding. Its ``dispatch_events`` is called by whoever iterates a
``Watch``, so the thread that waits is the one that reads; nothing is handed over.

watchdog's own ``Observer`` isn't used on Linux: it delays a swap by up to half a
second (it waits for the other half of the rename), wakes when others read the
volume, starts a thread for each directory, and never tells of an unmounted one.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import struct
import threading

from watchdog.observers.api import EventDispatcher, EventQueue
from watchdog.observers.inotify_c import (
    InotifyConstants,
    Mask,
    WatchDescriptor,
    inotify_add_watch,
    inotify_rm_watch,
    libc,
)

from kmetad._watch.hints import Hint

_C = InotifyConstants

# The rename of ..data_tmp to ..data is the only event that means a new generation
# (the AtomicWriter's order of system calls). Narrow masks aren't only cheaper: the
# kernel merges equal unread events, so one volume alone can't overflow the queue.
_GONE = _C.IN_DELETE_SELF | _C.IN_MOVE_SELF
SWAPPED_MASK = Mask(_C.IN_MOVED_TO | _GONE)
PLAIN_MASK = Mask(_C.IN_CLOSE_WRITE | _C.IN_CREATE | _C.IN_DELETE | _C.IN_MOVED_FROM | _C.IN_MOVED_TO | _GONE)

# Two paths may lead to one inode, which has one watch with one mask: never narrow it.
_ADD = _C.IN_ONLYDIR | _C.IN_MASK_ADD

# close-on-exec must be there from the first moment: a hook may start a program on
# another thread. watchdog binds only inotify_init, without flags.
_inotify_init1 = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, use_errno=True)(("inotify_init1", libc))

_HEADER = struct.Struct("iIII")  # struct inotify_event, inotify(7)
_BUFFER = 64 * 1024
_LONGEST_MS = 2**31 - 1  # poll(2) takes an int; a rescan may be farther away, and a wait may end early
_MOUNTS_CHANGED = select.POLLERR | select.POLLPRI


class InotifyHints(EventDispatcher):
    """See ``Hints``. The descriptor is opened by the first ``add`` that can have one."""

    def __init__(self) -> None:
        super().__init__()
        self._inotify = -1
        self._paths: dict[int, set[str]] = {}  # by watch descriptor
        self._descriptors: dict[str, int] = {}
        self._poll = select.poll()
        self._closing = threading.RLock()  # stop() may come while close() runs, from a signal handler too
        self._wake = -1
        self._mounts = -1
        self._timeout_ms: float | None = None
        self._hint = Hint()
        self.on_thread_start()

    # -- watchdog's extension points ------------------------------------------------

    def on_thread_start(self) -> None:
        """Open what can be waited for beside inotify: a call to wake, and the mount table."""
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poll.register(self._wake, select.POLLIN)
        self._open_mounts()

    def on_thread_stop(self) -> None:
        """Called by ``stop``, on any thread."""
        self.wake()

    def dispatch_events(self, event_queue: EventQueue) -> None:
        """Sleep until there is something to tell, and keep it as one ``Hint``; the queue stays unused."""
        hint = self._hint = Hint()
        for descriptor, event in self._poll.poll(self._timeout_ms):
            if descriptor == self._inotify:
                self._read(hint)
            elif descriptor == self._mounts and event & _MOUNTS_CHANGED:
                hint.mounts = True
            elif descriptor == self._wake and not self.stopped():
                os.eventfd_read(descriptor)
                if self.stopped():
                    self.wake()  # what was read may have been the call to stop

    # -- Hints ----------------------------------------------------------------------

    def add(self, path: str, *, swapped: bool) -> None:
        if self._inotify < 0:
            self._open()
        if self._mounts < 0:
            self._open_mounts()
        mask = Mask((SWAPPED_MASK if swapped else PLAIN_MASK) | _ADD)
        descriptor = int(inotify_add_watch(self._inotify, os.fsencode(path), mask))
        if descriptor < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code), path)
        if self._descriptors.get(path, descriptor) != descriptor:
            self.remove(path)  # the path leads to another directory now
        self._descriptors[path] = descriptor
        self._paths.setdefault(descriptor, set()).add(path)

    def remove(self, path: str) -> None:
        descriptor = self._descriptors.pop(path, None)
        if descriptor is None:
            return
        sharing = self._paths[descriptor]
        sharing.discard(path)
        if not sharing:
            del self._paths[descriptor]
            # Fails if the kernel dropped the watch in the meantime, which is as well.
            inotify_rm_watch(self._inotify, WatchDescriptor(descriptor))

    def wait(self, timeout: float | None) -> Hint:
        self._timeout_ms = None if timeout is None else min(max(0.0, timeout) * 1000, _LONGEST_MS)
        self.dispatch_events(self.event_queue)
        return self._hint

    def wake(self) -> None:
        with self._closing:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def stopped(self) -> bool:
        return not self.should_keep_running()

    def close(self) -> None:
        with self._closing:
            for descriptor in (self._inotify, self._wake, self._mounts):
                if descriptor >= 0:
                    os.close(descriptor)
            self._inotify = self._wake = self._mounts = -1
            self._paths.clear()
            self._descriptors.clear()

    # -- inside ---------------------------------------------------------------------

    def _open(self) -> None:
        descriptor = _inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if descriptor < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        self._inotify = descriptor
        self._poll.register(descriptor, select.POLLIN)

    def _open_mounts(self) -> None:
        try:
            # Signals POLLPRI when anything is mounted or unmounted in this mount namespace
            # (proc_pid_mountinfo(5)); inotify says nothing when a directory is mounted over.
            self._mounts = os.open("/proc/self/mountinfo", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return  # no /proc here, or no descriptor left: the slow rescan will find it
        self._poll.register(self._mounts, select.POLLPRI)

    def _read(self, hint: Hint) -> None:
        try:
            events = os.read(self._inotify, _BUFFER)
        except BlockingIOError:
            return
        at = 0
        while at < len(events):
            descriptor, mask, _cookie, length = _HEADER.unpack_from(events, at)
            start = at + _HEADER.size
            at = start + length
            if mask & _C.IN_Q_OVERFLOW:
                hint.everything = True
                continue
            paths = self._paths.get(descriptor)
            if paths is None:
                continue  # of a watch that was removed before its last events were read
            if mask & (_GONE | _C.IN_UNMOUNT | _C.IN_IGNORED):
                hint.ended |= paths
                self._forget(descriptor, by_kernel=bool(mask & _C.IN_IGNORED))
            elif not mask & _C.IN_CREATE or self._needs_look(paths, events[start:at]):
                hint.touched |= paths

    def _forget(self, descriptor: int, *, by_kernel: bool) -> None:
        """Drop a watch whose directory went. A moved or unmounted one would stay on under its old inode."""
        for path in self._paths.pop(descriptor):
            del self._descriptors[path]
        if not by_kernel:
            inotify_rm_watch(self._inotify, WatchDescriptor(descriptor))

    def _needs_look(self, paths: set[str], name: bytes) -> bool:
        """Whether a CREATE in a plain directory is all that will be heard of the file.

        Whoever creates a regular file has it open for writing, and CLOSE_WRITE follows
        when it is whole. Of a link nothing follows.
        """
        try:
            entry = os.lstat(os.path.join(os.fsencode(next(iter(paths))), name.rstrip(b"\0")))
        except OSError as error:
            return error.errno != errno.ENOENT
        return (entry.st_mode & 0o170000) != 0o100000 or entry.st_nlink > 1
