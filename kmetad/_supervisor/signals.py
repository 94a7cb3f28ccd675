"""Signals: all are blocked, and taken one after another (sigwaitinfo(2)). No handler ever runs."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
else:
    # What the module `signal` is made of. It only wraps each number in an enum, for a third of the whole start.
    import _signal as signal

ALL = frozenset(signal.valid_signals())
"""Every signal there is here, real-time ones too, but for those that the C library keeps for itself."""

CHLD, CONT, INT, KILL, QUIT, STOP, TERM = (
    int(number)
    for number in (
        signal.SIGCHLD,
        signal.SIGCONT,
        signal.SIGINT,
        signal.SIGKILL,
        signal.SIGQUIT,
        signal.SIGSTOP,
        signal.SIGTERM,
    )
)

FROM_TERMINAL = frozenset(map(int, (signal.SIGTTIN, signal.SIGTTOU)))
"""A process of the background touched the terminal."""

JOB_CONTROL = FROM_TERMINAL | {int(signal.SIGTSTP)}
"""They stop a process, unless it says otherwise."""

KEYS = frozenset(map(int, (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP)))
"""What a terminal sends to its foreground: Ctrl-C, Ctrl-\\, Ctrl-Z."""

CHANGED_BY_PYTHON = (int(signal.SIGPIPE), int(signal.SIGXFSZ))
"""The interpreter ignores them. What they were before, nobody knows; nearly always the default."""


_SI_SIGIO = -5
"""Of a signal that ``announce`` asked for, where a positive code would mean something else (fs/fcntl.c)."""


def block() -> frozenset[int]:
    """Block all. Answers what was blocked before: what the app is to start with.

    A parent that ignores SIGCHLD passes that on; then no child could be waited for.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return frozenset(map(int, signal.pthread_sigmask(signal.SIG_SETMASK, ALL)))


def unblock(mask: frozenset[int]) -> None:
    """As it was before ``block``."""
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def wait(timeout: float | None) -> signal.struct_siginfo | None:
    """The next signal; None if none comes within so many seconds (None: wait for ever)."""
    if timeout is None:
        return signal.sigwaitinfo(ALL)
    return signal.sigtimedwait(ALL, max(0.0, timeout))


def announce(descriptor: int) -> None:
    """Have the kernel send SIGCHLD whenever there is something to read (F_SETSIG, fcntl(2)).

    So everything that a supervisor waits for, its children and its daemon's messages,
    comes as one kind of event, and no second thread has to wait for the other kind.
    Reading doesn't block from now on.
    """
    import fcntl
    import os

    fcntl.fcntl(descriptor, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(descriptor, fcntl.F_SETSIG, CHLD)
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | os.O_ASYNC | os.O_NONBLOCK)


def was_sent(info: signal.struct_siginfo) -> bool:
    """Whether a process sent it; False for what the kernel has to say itself (``si_code``, sigaction(2))."""
    return info.si_code <= 0 and info.si_code != _SI_SIGIO


def stop_self(number: int) -> bool:
    """Stop this process by a signal, until somebody continues it.

    True if SIGCONT is there, to be taken. False if it didn't stop: the kernel stops neither
    process 1 nor a process group that has no shell left to continue it (setpgid(2),
    "orphaned process group").
    """
    import os

    if CONT in signal.sigpending():
        return True  # it came meanwhile, and a stop signal would discard it (signal(7))
    os.kill(os.getpid(), number)
    if number != STOP:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (number,))  # this is where it takes effect
        signal.pthread_sigmask(signal.SIG_BLOCK, (number,))
    return CONT in signal.sigpending()


def name(number: int) -> str:
    """``SIGTERM`` for 15; ``signal 35`` for what has no name of its own."""
    from kmetad._config.signals import signal_name  # for messages only

    text = signal_name(number)
    return f"signal {text}" if text.isdecimal() else f"SIG{text}"
