"""What the wrapped apps of these tests are made of: ``app.py CODE`` runs the code with the names below.

Run by ``python -I -S``, so that it is up at once and nothing is traced in it. All
signals are blocked from the start and taken one by one, so that none is lost and none
ends it unasked; what is forked from it inherits that. Whatever is said goes to standard
output in one write, so that lines of several processes don't mix.
"""

import os
import signal
import sys

signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())


def say(*words):
    """Write one line."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def record(name, until=()):
    """Say ``NAME ready PID``, then ``NAME NUMBER`` for each signal; return at one of ``until``.

    A SIGCHLD of the kernel's, for a child of its own, isn't told.
    """
    say(name, "ready", os.getpid())
    while True:
        taken = signal.sigwaitinfo(signal.valid_signals())
        if taken.si_signo == signal.SIGCHLD and taken.si_code > 0:
            continue
        say(name, taken.si_signo)
        if taken.si_signo in until:
            return


def child(do):
    """Run ``do`` in a child; its pid."""
    pid = os.fork()
    if pid == 0:
        try:
            do()
        finally:
            os._exit(0)
    return pid


def orphan(do, session=False):
    """Run ``do`` in a process whose parent has ended, on request in a session of its own."""

    def parent():
        if session:
            os.setsid()
        child(do)

    os.waitpid(child(parent), 0)


def sleep_until(signals):
    """As ``record``, silently."""
    while signal.sigwaitinfo(signal.valid_signals()).si_signo not in signals:
        pass


if __name__ == "__main__":
    exec(compile(sys.argv[1], "app", "exec"), globals())
