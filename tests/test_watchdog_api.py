"""What kmetad uses of watchdog, so that a new minor version that moves it is noticed."""

from __future__ import annotations

import inspect
import threading
from importlib.metadata import requires, version

from watchdog.observers import inotify_c
from watchdog.observers.api import EventDispatcher, EventQueue
from watchdog.utils import BaseThread


def test_minor_version_is_pinned() -> None:
    """The installed one is the one that this was written for."""
    assert version("watchdog").startswith("7.1.")
    assert any(
        line.replace(" ", "") in ("watchdog<7.2,>=7.1", "watchdog>=7.1,<7.2")
        for line in requires("kmetad") or ()
    )


def test_dispatcher_has_its_extension_points() -> None:
    """``dispatch_events``, ``on_thread_start`` and ``on_thread_stop`` are called as they were."""
    assert list(inspect.signature(EventDispatcher.dispatch_events).parameters) == ["self", "event_queue"]
    assert "Override" in (EventDispatcher.dispatch_events.__doc__ or "")
    assert "Override" in (BaseThread.on_thread_start.__doc__ or "")
    assert "Override" in (BaseThread.on_thread_stop.__doc__ or "")


def test_stop_sets_the_flag_and_calls_the_hook() -> None:
    """``stop`` of a dispatcher that was never started as a thread ends it all the same."""
    called = threading.Event()

    class Dispatcher(EventDispatcher):
        def on_thread_stop(self) -> None:
            called.set()

    dispatcher = Dispatcher()
    assert isinstance(dispatcher.event_queue, EventQueue)
    assert dispatcher.should_keep_running()
    dispatcher.stop()
    assert called.is_set()
    assert not dispatcher.should_keep_running()


def test_bindings() -> None:
    """The ctypes bindings and constants are there, with the kernel's numbers (inotify(7))."""
    constants = inotify_c.InotifyConstants
    assert (constants.IN_MOVED_TO, constants.IN_Q_OVERFLOW, constants.IN_IGNORED) == (0x80, 0x4000, 0x8000)
    assert (constants.IN_UNMOUNT, constants.IN_ONLYDIR, constants.IN_MASK_ADD) == (
        0x2000,
        0x1000000,
        0x20000000,
    )
    assert callable(inotify_c.inotify_add_watch)
    assert callable(inotify_c.inotify_rm_watch)
    assert inotify_c.libc.inotify_init1
