"""Namespaces of the kernel, so that what a test takes away from kmetad is taken away from nobody else."""

from __future__ import annotations

import functools
import os
import subprocess

import pytest


@functools.cache
def own(*kinds: str) -> tuple[str, ...]:
    """What makes the command behind it run in namespaces of its own (``mount``, ``user``, ``time`` …), as root there.

    Skips the test where that isn't permitted.
    """
    wanted = [f"--{kind}" for kind in kinds]
    told = ""
    for more in ((), ("--user", "--map-root-user")):
        user = ("--map-root-user",) if "user" in kinds else more
        command = ("unshare", *dict.fromkeys((*user, *wanted)))
        try:
            done = subprocess.run([*command, "true"], capture_output=True, text=True)
        except FileNotFoundError as error:
            told = str(error)
        else:
            if done.returncode == 0:
                return command
            told = done.stderr
    pytest.skip(f"no {' and '.join(kinds)} namespace can be made here: {told.strip()}")


def entering(pid: int, *command: str) -> list[str]:
    """The command line that runs a command as root in the user and mount namespaces of a process."""
    enter = ["nsenter", f"--target={pid}", "--mount"]
    if os.readlink(f"/proc/{pid}/ns/user") != os.readlink("/proc/self/ns/user"):
        enter.append("--user")
    return [*enter, *command]


def inside(pid: int, *command: str) -> None:
    """Run a command so, to its end."""
    subprocess.run(entering(pid, *command), check=True, capture_output=True, text=True)


@functools.cache
def limited() -> tuple[str, ...]:
    """What makes the command behind it run where it may set limits of inotify for itself, in /proc/sys/user.

    Those in /proc/sys/fs/inotify are the whole machine's. Skips the test where /proc is read-only.
    """
    command = own("user")
    probe = "echo 1 > /proc/sys/user/max_inotify_instances"
    done = subprocess.run([*command, "sh", "-c", probe], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"no limits of its own can be set here: {done.stderr.strip()}")
    return command


class Limit:
    """A limit of inotify, ``max_inotify_instances`` or ``max_inotify_watches``, for processes that run under it."""

    def __init__(self, name: str) -> None:
        self._file = f"/proc/sys/user/{name}"

    def command(self, limit: int) -> tuple[str, ...]:
        """What makes the command behind it run under this limit."""
        return (*limited(), "sh", "-c", f'echo {limit} > {self._file} && exec "$@"', "sh")

    def set(self, pid: int, limit: int) -> None:
        """Set another, for a process that runs under one."""
        inside(pid, "sh", "-c", f"echo {limit} > {self._file}")
