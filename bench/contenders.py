"""Who is measured, and how each is started."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from bench.volume import MARKER

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BARE, KMETAD, OBSERVER = "bare inotify reader", "kmetad, whole way", "watchdog Observer"


@dataclass(frozen=True, slots=True)
class Contender:
    """One watcher; ``argv`` is made of its directory, its named pipe and the volumes."""

    name: str
    argv: Callable[[str, str, Sequence[str]], list[str]]
    available: Callable[[], bool]
    swaps: int = 20
    """How many swaps it gets in a round."""
    seconds: float = 1.5
    """A round of a slow one ends after so long."""
    rest: float = 0.003
    """Seconds between its answer and the next swap, so that it is asleep again."""
    every: int = 1
    """Takes part in one of so many rounds."""


def _watcher(module: str, *options: str) -> Callable[[str, str, Sequence[str]], list[str]]:
    def argv(_directory: str, fifo: str, volumes: Sequence[str]) -> list[str]:
        return [sys.executable, "-m", f"bench.watchers.{module}", *options, fifo, *volumes]

    return argv


def kmetad_command() -> list[str]:
    """The installed script, which is what a container runs."""
    script = os.path.join(os.path.dirname(sys.executable), "kmetad")
    if os.path.exists(script):
        return [script]
    return [sys.executable, "-m", "kmetad"]


def kmetad_toml(directory: str, volumes: Sequence[str], fifo: str | None) -> str:
    """Write a configuration with these volumes, and the probe plugin if there is a pipe; answers its path."""
    lines = []
    for path in volumes:
        lines += [f"[volumes.{os.path.basename(path)}]", f'path = "{path}"']
    if fifo is not None:
        plugin = shutil.copy(os.path.join(ROOT, "bench", "watchers", "kmetad_plugin.py"), directory)
        os.chmod(plugin, 0o644)  # kmetad refuses what others could replace
        lines += ["[plugins.probe]", f'path = "{plugin}"', f'report = "{fifo}"']
    config = os.path.join(directory, "kmetad.toml")
    with open(config, "w") as file:
        file.write("\n".join(lines) + "\n")
    return config


def _kmetad(directory: str, fifo: str, volumes: Sequence[str]) -> list[str]:
    return [*kmetad_command(), "run", "-c", kmetad_toml(directory, volumes, fifo)]


def _watchmedo(_directory: str, fifo: str, volumes: Sequence[str]) -> list[str]:
    # The bench finds the marker in the file and takes the time itself: a shell has no such clock.
    command = f"grep '{MARKER}' \"${{watch_dest_path}}/labels\" >'{fifo}'"
    script = os.path.join(os.path.dirname(sys.executable), "watchmedo")
    return [script, "shell-command", "--quiet", "--patterns=**/..data", f"--command={command}", *volumes]


def _module(name: str) -> Callable[[], bool]:
    return lambda: find_spec(name) is not None


def _program(name: str) -> Callable[[], bool]:
    return lambda: shutil.which(name) is not None


CONTENDERS = (
    Contender(BARE, _watcher("bare"), lambda: True),
    Contender(KMETAD, _kmetad, _module("kmetad._cli.main")),
    Contender("inotifywait -m | python", _watcher("inotifywait"), _program("inotifywait")),
    Contender(OBSERVER, _watcher("observer"), _module("watchdog")),
    Contender("watchfiles, tuned", _watcher("rust", "tuned"), _module("watchfiles"), swaps=10, rest=0.01),
    Contender(
        "watchmedo shell-command",
        _watchmedo,
        _program(os.path.join(os.path.dirname(sys.executable), "watchmedo")),
        swaps=5,
        rest=0.02,
    ),
    Contender(
        "watchfiles, default", _watcher("rust", "default"), _module("watchfiles"), swaps=2, rest=0.06, every=4
    ),
)


class Running:
    """A contender's process; what it prints goes to a file."""

    def __init__(self, argv: Sequence[str], directory: str, environ: dict[str, str] | None = None) -> None:
        self._output = os.path.join(directory, "output")
        with open(self._output, "wb") as output:
            self._process = subprocess.Popen(
                argv,
                cwd=ROOT,
                env=os.environ | {"KMETAD_CONFIG": ""} | (environ or {}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def fault(self) -> str | None:
        """Why it ended; None while it runs."""
        code = self._process.poll()
        return None if code is None else f"ended with {code}: {self.last_words()}"

    def said(self) -> str:
        """All that it has printed so far."""
        with open(self._output, errors="replace") as file:
            return file.read()

    def last_words(self) -> str:
        """The end of what it printed."""
        lines = self.said().strip().splitlines()
        return lines[-1][-300:] if lines else "(no output)"

    def stop(self) -> None:
        """End the process and what it started; waits for its end."""
        try:
            os.killpg(self.pid, 15)
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self.pid, 9)
            self._process.wait()
        except ProcessLookupError:
            self._process.wait()
